// The languages of a text's stretches, as the server measures them (`/v1/language`), and how a text is cut by them and by its formulas.
import { sendJson } from '../api/client';
import { untilAnswered } from '../api/connection';
import type { Schema } from '../api/types';
import { splitMath, type Piece } from './math';

export interface Segment {
  /** Offsets in the text. */
  start: number;
  end: number;
  /** Null where nothing tells. */
  language: string | null;
}

export type Measured = Omit<Schema<'MeasuredLanguage'>, 'segments'> & { segments: Segment[] };

let last: Promise<unknown> = Promise.resolve();

/** One text after another: the answers of a group would fall upon the server, and upon the key's limits, together. */
export function measure(text: string, target: string, signal: AbortSignal): Promise<Measured> {
  const measured = last.then(async () => {
    signal.throwIfAborted();
    const found = await untilAnswered(() => sendJson<Schema<'MeasuredLanguage'>>('POST', '/v1/language', { text, target }, signal), signal);
    return { ...found, segments: fromBytes(text, found.segments) };
  });
  last = measured.catch(() => {});
  return measured;
}

/** The server counts bytes, strings count UTF-16. */
export function fromBytes(text: string, segments: Schema<'LanguageSegment'>[]): Segment[] {
  const bytes = new TextEncoder().encode(text);
  const decoder = new TextDecoder();
  let at = 0;
  let offset = 0;
  const offsetOf = (byte: number) => {
    offset += decoder.decode(bytes.subarray(at, byte)).length;
    at = byte;
    return offset;
  };
  return segments.map(({ start, end, language }) => ({ start: offsetOf(start), end: offsetOf(end), language: language ?? null }));
}

export type ColouredPiece = Piece & { language: string | null };

/** Formulas whole, the text between them cut where the language changes. */
export function colouredPieces(text: string, segments: Segment[]): ColouredPiece[] {
  return splitMath(text).flatMap((piece): ColouredPiece[] => {
    if (piece.kind === 'math') return [{ ...piece, language: null }];
    const pieces: ColouredPiece[] = [];
    let start = piece.start;
    const cut = (end: number, language: string | null) => {
      if (end > start) pieces.push({ ...piece, start, end, text: text.slice(start, end), language });
      start = Math.max(start, end);
    };
    for (const segment of segments) {
      if (segment.end <= start || segment.start >= piece.end) continue;
      cut(segment.start, null);
      cut(Math.min(segment.end, piece.end), segment.language);
    }
    cut(piece.end, null);
    return pieces;
  });
}
