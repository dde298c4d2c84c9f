// A streamed chat that outlives its connection. The server gives the same tokens for the same request and seed, so an answer that
// broke off is asked for again, and nothing of it is lost; the request must have a seed.
import { ApiError, jsonBody, request } from './client';
import { backoffMs, isPassing, sleep, waitForServer } from './connection';
import { serverEvents } from './sse';
import type { Schema } from './types';

export type ChatRequest = Omit<Partial<Schema<'ChatRequest'>>, 'messages'> & { messages: ChatMessage[]; seed: number };
export interface ChatMessage {
  role: string;
  content: string;
}
/** `again`: the answer starts over, with the same tokens. */
export type ChatEvent = Schema<'ChatChunk'> | 'again';

const ATTEMPTS_MAX = 8;

export async function* chat(body: ChatRequest, signal: AbortSignal): AsyncGenerator<ChatEvent> {
  const init = { method: 'POST', signal, ...jsonBody({ ...body, stream: true, stream_options: { include_usage: true } }) };
  for (let attempt = 0; ; attempt++) {
    try {
      const response = await request('/v1/chat/completions', init);
      for await (const { data } of serverEvents(response)) {
        if (data === '[DONE]') return;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new ApiError(chunk.error.code === 'shutting_down' ? 503 : 500, chunk.error.message);
        yield chunk;
      }
      throw new ApiError(0, 'The answer ended before it was whole.');
    } catch (error) {
      signal.throwIfAborted();
      // What fetch throws in the middle of a body is no ApiError: the connection broke.
      const passes = !(error instanceof ApiError) || isPassing(error.status);
      if (!passes || attempt >= ATTEMPTS_MAX) throw error;
    }
    await sleep(backoffMs(attempt), signal);
    await waitForServer(signal);
    yield 'again';
  }
}
