// Who is here and whether the server answers: state alone. `access.ts` changes it, `api/client.ts` reads the key.

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
