// The settings of a conversation. They stand in the address, so that a link shows the same playground; what is not there is the server's
// or the model's own default.
import type { ChatMessage, ChatRequest } from '../../api/chat';

export interface Setting {
  name: string;
  min?: number;
  max?: number;
  step?: number;
}

/** Fields of the request, by their names in it. */
export const numbers: Setting[] = [
  { name: 'temperature', min: 0, max: 2, step: 0.05 },
  { name: 'top_p', min: 0, max: 1, step: 0.01 },
  { name: 'top_k', min: -1, step: 1 },
  { name: 'min_p', min: 0, max: 1, step: 0.01 },
  { name: 'max_tokens', min: 1, step: 1 },
  { name: 'n', min: 1, max: 32, step: 1 },
  { name: 'seed', step: 1 },
];

/** Of thinking in a language. */
export const traceNumbers: Setting[] = [
  { name: 'thinking_token_budget', min: 1, step: 1 },
  { name: 'reasoning_steer', min: 0, max: 100, step: 1 },
];

export interface Asked {
  model: string;
  language: string;
  messages: ChatMessage[];
  query: Record<string, string>;
}

/** The request of one column. A seed is drawn where none is set: with it, an answer that breaks off can be asked for again. */
export function chatRequest({ model, language, messages, query }: Asked): ChatRequest {
  const given = (settings: Setting[]) =>
    Object.fromEntries(settings.filter(({ name }) => query[name]).map(({ name }) => [name, Number(query[name])]));
  const system = query.system?.trim() ? [{ role: 'system', content: query.system.trim() }] : [];
  const trace = { ...given(traceNumbers), reasoning_language: language, thinking_prefix: query.thinking_prefix === 'true' };
  return {
    model,
    messages: [...system, ...messages],
    ...given(numbers),
    ...(language ? trace : {}),
    ...(query.logprobs === 'true' ? { logprobs: true, top_logprobs: 5 } : {}),
    ...extraFields(query.extra),
    seed: query.seed ? Number(query.seed) : Math.floor(Math.random() * 2 ** 31),
  };
}

/** More fields, as a JSON object. */
export function extraFields(text: string | undefined): Record<string, unknown> {
  if (!text?.trim()) return {};
  const fields: unknown = JSON.parse(text);
  if (typeof fields !== 'object' || fields === null || Array.isArray(fields)) throw new SyntaxError('{..}');
  return fields as Record<string, unknown>;
}
