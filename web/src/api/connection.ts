// Whether the server answers. When a request finds nobody, it is asked for until it is back; whoever needs it waits here, and has its
// request made again.
import { session } from '../session.svelte';

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 3000;
/** A key's limit may hold for hours: then its user is told. */
const REFUSALS_MAX = 8;
const REFUSAL_MS_MAX = 10_000;

let coming: Promise<void> | null = null;

/** Nobody there, or a proxy that found nobody behind it. */
export function isGone(status: number): boolean {
  return status === 0 || status === 502 || status === 504;
}

/** Gone, too busy, or about to stop. */
export function isPassing(status: number): boolean {
  return isGone(status) || status === 429 || status === 503;
}

export function serverIsGone(): void {
  session.online = false;
  coming ??= knockUntilBack();
}

/** Returns at once while the server answers. */
export function waitForServer(signal?: AbortSignal): Promise<void> {
  return coming ? unlessAborted(coming, signal) : Promise.resolve();
}

/** Asks until an answer comes that does not pass by itself. Errors that have no status, as that of the signal, are no answers. */
export async function untilAnswered<T>(ask: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    let pauseMs = 0;
    try {
      return await ask();
    } catch (error) {
      signal?.throwIfAborted();
      const { status, retryAfterMs = 0 } = error as { status?: number; retryAfterMs?: number };
      const isRefused = status === 429 && (attempt >= REFUSALS_MAX || retryAfterMs > REFUSAL_MS_MAX);
      if (status === undefined || !isPassing(status) || isRefused) throw error;
      pauseMs = retryAfterMs;
    }
    await sleep(Math.max(backoffMs(attempt), pauseMs), signal);
    await waitForServer(signal);
  }
}

async function knockUntilBack(): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    await sleep(backoffMs(attempt));
    try {
      if ((await fetch('/version', { cache: 'no-store' })).ok) break;
    } catch {
      // Not yet.
    }
  }
  coming = null;
  session.online = true;
}

/** Twice as long each time, with a part by chance, so that many pages do not come back at once. */
export function backoffMs(attempt: number): number {
  return Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_WAIT_MS) * (0.75 + Math.random() / 2);
}

export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return unlessAborted(new Promise((resolve) => setTimeout(resolve, milliseconds)), signal);
}

/** Throws the signal's reason as soon as it is aborted. */
async function unlessAborted(wait: Promise<void>, signal?: AbortSignal): Promise<void> {
  if (!signal) return wait;
  signal.throwIfAborted();
  let stop!: () => void;
  const aborted = new Promise<never>((_, reject) => (stop = () => reject(signal.reason)));
  signal.addEventListener('abort', stop, { once: true });
  try {
    await Promise.race([wait, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
