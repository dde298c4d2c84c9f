// A stream of events that outlives its connection: taken up again behind the last event that was seen, until what it tells of is over.
import { ApiError, request } from './client';
import { backoffMs, isPassing, sleep, waitForServer } from './connection';
import { serverEvents, type ServerEvent } from './sse';

interface Following {
  signal: AbortSignal;
  /** Id of the event that it begins after. */
  after?: string;
  /** Asked at the stream's end, which a server that stops sends too. */
  hasEnded: () => Promise<boolean>;
}

export async function* follow(path: string, { signal, after = '', hasEnded }: Following): AsyncGenerator<ServerEvent> {
  for (let attempt = 0, last = after; ; attempt++) {
    try {
      const headers: Record<string, string> = last ? { 'last-event-id': last } : {};
      for await (const event of serverEvents(await request(path, { signal, headers }))) {
        if (event.data === '[DONE]') break;
        if (event.data.startsWith('{"error":')) throw new ApiError(500, JSON.parse(event.data).error.message);
        attempt = 0;
        last = event.id ?? last;
        yield event;
      }
      if (await hasEnded()) return;
    } catch (error) {
      signal.throwIfAborted();
      // What fetch throws in the middle of a body is no ApiError: the connection broke.
      if (error instanceof ApiError && !isPassing(error.status)) throw error;
    }
    await sleep(backoffMs(attempt), signal);
    await waitForServer(signal);
  }
}
