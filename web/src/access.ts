// Signing in and out. The key is in memory, and in sessionStorage (this tab, until it is closed) where the user ticks so.
import { ApiError, getJson } from './api/client';
import type { Schema } from './api/types';
import { session, type Scope } from './session.svelte';

const STORED = 'xenoglot.key';

/** Asks what is open: at the start, after signing in, and when the server is back. */
export async function knock(): Promise<void> {
  try {
    const info = await getJson<Schema<'KeyInfo'>>('/v1/key');
    Object.assign(session, { status: 'open', name: info.name ?? '', scopes: info.scopes as Scope[], reason: '' });
  } catch (error) {
    // Where nobody answered, the shell knocks again when somebody does.
    if (!(error instanceof ApiError) || error.status === 0) return;
    Object.assign(session, { status: 'shut', scopes: [], reason: error.message });
  }
}

export async function signIn(key: string, keep: boolean): Promise<void> {
  session.key = key.trim();
  await knock();
  if (session.status === 'open' && keep) sessionStorage.setItem(STORED, session.key);
}

export async function signOut(): Promise<void> {
  sessionStorage.removeItem(STORED);
  session.key = '';
  await knock();
}

session.key = sessionStorage.getItem(STORED) ?? '';
