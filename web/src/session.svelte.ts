// Who is here and whether the server answers: state alone. `access.ts` opens it, `api/client.ts` reads the key.
import { keepKey, keptKey } from './kept';

export type Scope = 'inference' | 'metrics' | 'rollouts' | 'admin';

export const session = $state({
  /** Whether the door has been asked, and what it said. */
  status: 'asking' as 'asking' | 'open' | 'shut',
  key: '',
  /** The key's name; empty where none was needed. */
  name: '',
  scopes: [] as Scope[],
  /** What the server said when it shut the door. */
  reason: '',
  /** False while the server does not answer. */
  online: true,
});

export function may(scope: Scope): boolean {
  return session.scopes.includes(scope);
}

const forgetters: (() => void)[] = [];
let leave = new AbortController();

/** Aborted when the session ends. */
export function leaving(): AbortSignal {
  return leave.signal;
}

/** For a module that keeps what a key opened: called when its user goes. */
export function onLeaving(forget: () => void): void {
  forgetters.push(forget);
}

/** Ends what runs under the key, and forgets what it opened. */
export function forget(): void {
  for (const forget of forgetters) forget();
  leave.abort();
  leave = new AbortController();
}

export function shut(reason: string): void {
  forget();
  Object.assign(session, { status: 'shut', name: '', scopes: [], reason });
}

/** The key opens nothing, or nothing any more: it is of no further use. */
export function refuse(reason: string): void {
  // Another that was kept meanwhile was not refused.
  if (keptKey() === session.key) keepKey('');
  session.key = '';
  shut(reason);
}
