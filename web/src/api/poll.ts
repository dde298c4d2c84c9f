// What has no events is asked for again and again, while somebody sees the page and the server answers.
import { sleep, waitForServer } from './connection';

/** Looks now, and again after each wait, until it is stopped. */
export function poll(look: (signal: AbortSignal) => Promise<void>, waitMs: () => number, onerror: (message: string) => void): () => void {
  const abort = new AbortController();
  const { signal } = abort;
  const watch = async () => {
    for (;;) {
      if (!document.hidden) {
        await look(signal).catch((failure: Error) => {
          signal.throwIfAborted();
          onerror(failure.message);
        });
      }
      await sleep(waitMs(), signal);
      await waitForServer(signal);
    }
  };
  watch().catch(() => {}); // stopped while it slept
  return () => abort.abort();
}
