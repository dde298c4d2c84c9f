// A stream of events that outlives its connection: taken up again behind the last event that was seen, until what it tells of is over.
import { ApiError, request } from './client';
import { backoffMs, isPassing, sleep, waitForServer } from './connection';
import { serverEvents, type ServerEvent } from './sse';
import type { Schema } from './types';

interface Following {
  signal: AbortSignal;
  /** Id of the event that it begins after. */
  after?: string;
  /** Asked at the stream's end, which a server that stops sends too. Streams that answer 204 where all was told need no asking. */
  hasEnded?: () => Promise<boolean>;
}

export async function* follow(path: string, { signal, after = '', hasEnded }: Following): AsyncGenerator<ServerEvent> {
  for (let attempt = 0, last = after; ; attempt++) {
    try {
      const headers: Record<string, string> = last ? { 'last-event-id': last } : {};
      const response = await request(path, { signal, headers });
      if (response.status === 204) return;
      for await (const event of serverEvents(response)) {
        if (event.data === '[DONE]') break;
        if (event.data.startsWith('{"error":')) throw errorIn(event.data);
        attempt = 0;
        last = event.id ?? last;
        yield event;
      }
      if (await hasEnded?.()) return;
    } catch (error) {
      signal.throwIfAborted();
      // What fetch throws in the middle of a body is no ApiError: the connection broke.
      if (error instanceof ApiError && !isPassing(error.status)) throw error;
    }
    await sleep(backoffMs(attempt), signal);
    await waitForServer(signal);
  }
}

/** A server that stops, or whose store does, will answer again. */
function errorIn(data: string): ApiError {
  const { error } = JSON.parse(data) as Schema<'ErrorResponse'>;
  return new ApiError(error.code === 'shutting_down' || error.code === 'store_unavailable' ? 503 : 500, error.message);
}
