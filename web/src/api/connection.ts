// Whether the server answers. When a request finds nobody, it is asked for until it is back; whoever needs it waits here.
import { session } from '../session.svelte';

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 3000;

let coming: Promise<void> | null = null;

export function serverIsGone(): void {
  session.online = false;
  coming ??= knockUntilBack();
}

/** Returns at once while the server answers. */
export function waitForServer(): Promise<void> {
  return coming ?? Promise.resolve();
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
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
