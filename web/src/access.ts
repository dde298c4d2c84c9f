// Signing in and out. The key is in memory, and in sessionStorage (this tab, until it is closed) where the user ticks so.
import { ApiError, getJson } from './api/client';
import { isGone } from './api/connection';
import type { Schema } from './api/types';
import { forget, session, shut, type Scope } from './session.svelte';

const STORED = 'xenoglot.key';

/** Asks what is open: at the start, after signing in, and when the server is back. */
export async function knock(): Promise<void> {
  const { key } = session;
  try {
    const info = await getJson<Schema<'KeyInfo'>>('/v1/key');
    Object.assign(session, { status: 'open', name: info.name ?? '', scopes: info.scopes as Scope[], reason: '' });
  } catch (error) {
    // Where nobody answered, the shell knocks again when somebody does. A session that has ended meanwhile has another key to ask for.
    if (!(error instanceof ApiError) || isGone(error.status) || session.key !== key) return;
    // A server that is busy takes nobody's key away.
    if (session.status === 'open' && error.status !== 401 && error.status !== 403) return;
    shut(error.message);
  }
}

/** Whether a request's header takes it: of visible ASCII alone. */
export function isSendable(key: string): boolean {
  return /^[\x21-\x7e]*$/.test(key.trim());
}

/** The key must be sendable. */
export async function signIn(key: string, keep: boolean): Promise<void> {
  session.key = key.trim();
  await knock();
  if (session.status === 'open' && keep) store(session.key);
}

export async function signOut(): Promise<void> {
  store('');
  forget();
  Object.assign(session, { status: 'asking', key: '', name: '', scopes: [] });
  await knock();
}

function stored(): string {
  try {
    const key = sessionStorage.getItem(STORED) ?? '';
    return isSendable(key) ? key : '';
  } catch {
    return ''; // a browser that keeps nothing
  }
}

function store(key: string): void {
  try {
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
  } catch {
    // The key holds until the page is closed.
  }
}

session.key = stored();
