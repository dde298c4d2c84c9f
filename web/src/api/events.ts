// A stream of events that outlives its connection: asked for again with the last id that was seen, it misses nothing. For
// /v1/evals/../events, /v1/fine_tuning/jobs/../events?stream=true and /v1/merges/../events.
import { ApiError, request } from './client';
import { backoffMs, sleep, waitForServer } from './connection';
import { serverEvents, type ServerEvent } from './sse';

export interface Following {
  /** Aborted when the view goes. */
  signal: AbortSignal;
  /** The last id that is known already. */
  after?: string | null;
  /** Whether the stream is there, for views that say so. */
  onLive?: (live: boolean) => void;
}

/** Yields until the stream is over for good. Throws what the server refuses. */
export async function* follow(path: string, { signal, after = null, onLive }: Following): AsyncGenerator<ServerEvent> {
  let last = after;
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      const headers = last === null ? undefined : { 'last-event-id': last };
      const response = await request(path, { signal, headers });
      if (response.status === 204) return;
      onLive?.(true);
      for await (const event of serverEvents(response)) {
        attempt = 0;
        if (event.data === '[DONE]') return;
        if (event.id !== null) last = event.id;
        yield event;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiError && !isPassing(error.status)) throw error;
    }
    onLive?.(false);
    await waitForServer();
    await sleep(backoffMs(attempt), signal).catch(() => {});
  }
}

/** Nobody there, too busy, or about to stop. */
export function isPassing(status: number): boolean {
  return status === 0 || status === 429 || status === 503;
}
