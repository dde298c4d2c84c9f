// A completion cut at its trace, and the place of its answer.

export interface Cut {
  trace: string;
  answer: string;
  /** The trace never ended. */
  isOpen: boolean;
  /** Where the answer's text begins in the completion. */
  answerStart: number;
}

/** Tags that open and close a trace, beside which case does not matter: those of the server (src/score/extract/parts.rs). */
const TAGS = [
  ['<think>', '</think>'],
  ['<thinking>', '</thinking>'],
  ['<reasoning>', '</reasoning>'],
  ['<thought>', '</thought>'],
  ['[think]', '[/think]'],
  ['◁think▷', '◁/think▷'],
  ['<|begin_of_thought|>', '<|end_of_thought|>'],
  ['<|channel|>analysis<|message|>', '<|channel|>final<|message|>'],
] as const;
const ANY_TAG = new RegExp(TAGS.flat().map((tag) => tag.replace(/[[\]|]/g, '\\$&')).join('|'), 'gi');
/** Harmony's channels where a decoder dropped its special tokens. */
const BARE_CHANNEL = /^analysis(?:(?<closed>[^]*)assistantfinal|(?=\p{Lu}))/u;

/** At the last closing tag, as the server does. */
export function cutAtTrace(completion: string): Cut {
  const cut = (from: number, to: number, answerStart: number, isOpen = false): Cut => ({
    trace: completion.slice(from, to).trim(),
    answer: completion.slice(answerStart).trim(),
    isOpen,
    answerStart,
  });
  const end = completion.length;
  const channel = completion.match(BARE_CHANNEL);
  if (channel) {
    const isOpen = channel.groups?.closed === undefined;
    return isOpen ? cut('analysis'.length, end, end, true) : cut('analysis'.length, channel[0].length - 'assistantfinal'.length, channel[0].length);
  }
  let first: [number, number] | null = null;
  let open: [number, number] | null = null;
  let close: [number, number] | null = null;
  for (const { 0: found, index } of completion.matchAll(ANY_TAG)) {
    const tag = found.toLowerCase();
    const place: [number, number] = [index, index + tag.length];
    if (TAGS.some(([, closing]) => closing === tag)) {
      [close, open] = [place, null];
      continue;
    }
    first ??= place;
    // Prose may name the other tags; only at the start do they open a trace that nothing closes.
    if (tag === TAGS[0][0] || completion.slice(close?.[1] ?? 0, index).trim() === '') open ??= place;
  }
  if (open) return cut(close ? 0 : open[1], end, end, true);
  if (!close) return cut(0, 0, 0);
  const isFirst = first && first[0] < close[0] && completion.slice(0, first[0]).trim() === '';
  return cut(isFirst ? first![1] : 0, close[0], close[1]);
}

const CONTEXT = 90;

/** What stands in the span, which counts bytes, with some of what stands around it. */
export function spanIn(completion: string, span: [number, number]): { before: string; found: string; after: string } {
  const bytes = new TextEncoder().encode(completion);
  const decoder = new TextDecoder();
  const text = (start: number, end: number) => decoder.decode(bytes.subarray(start, end));
  const [before, found, after] = [text(0, span[0]), text(span[0], span[1]), text(span[1], bytes.length)];
  const shortened = before.length > CONTEXT ? `…${before.slice(-CONTEXT)}` : before;
  return { before: shortened, found, after: after.length > CONTEXT ? `${after.slice(0, CONTEXT)}…` : after };
}
