// A completion cut at its trace, and the place of its answer.

export interface Cut {
  trace: string;
  answer: string;
  /** The trace never ended. */
  isOpen: boolean;
  /** Where the answer's text begins in the completion. */
  answerStart: number;
}

/** At the last closing tag, as the server does. */
export function cutAtTrace(completion: string): Cut {
  const close = completion.lastIndexOf('</think>');
  const open = completion.indexOf('<think>');
  const begun = open >= 0 ? open + '<think>'.length : 0;
  if (close >= 0) {
    const end = close + '</think>'.length;
    return { trace: completion.slice(begun <= close ? begun : 0, close).trim(), answer: completion.slice(end).trim(), isOpen: false, answerStart: end };
  }
  if (open >= 0) return { trace: completion.slice(begun).trim(), answer: '', isOpen: true, answerStart: completion.length };
  return { trace: '', answer: completion.trim(), isOpen: false, answerStart: 0 };
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
