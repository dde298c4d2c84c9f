// Signing in and out. The key is in memory, and kept for the tab where the user ticks so.
import { ApiError, getJson } from './api/client';
import { isGone } from './api/connection';
import type { Schema } from './api/types';
import { keepKey, keptKey } from './kept';
import { forget, refuse, session, shut, type Scope } from './session.svelte';

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
    if (error.status !== 401) return shut(error.message);
    // Who comes without a key, and tried none, did nothing wrong.
    refuse(key === '' && session.status === 'asking' ? '' : error.message);
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
  if (session.status === 'open') keepKey(keep ? session.key : '');
}

export async function signOut(): Promise<void> {
  keepKey('');
  forget();
  Object.assign(session, { status: 'asking', key: '', name: '', scopes: [] });
  await knock();
}

const kept = keptKey();
session.key = isSendable(kept) ? kept : '';
