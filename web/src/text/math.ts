// Where the mathematics of a text stands: `$..$`, `$$..$$`, `\(..\)`, `\[..\]` and a bare `\boxed{..}`. What does not end stays text.

export interface Piece {
  kind: 'text' | 'math';
  /** Offsets in the text, delimiters included. */
  start: number;
  end: number;
  /** Without its delimiters. */
  text: string;
  display: boolean;
}

const DELIMITERS = [
  { open: '$$', close: '$$', display: true },
  { open: '\\[', close: '\\]', display: true },
  { open: '\\(', close: '\\)', display: false },
  { open: '$', close: '$', display: false },
];
/** Longer formulas are left as text: nobody reads them, and typesetting takes the longer. */
const LENGTH_MAX = 2000;

export function splitMath(text: string): Piece[] {
  const pieces: Piece[] = [];
  let start = 0;
  for (let at = 0; at < text.length; ) {
    const found = text[at] === '$' || text[at] === '\\' ? mathAt(text, at) : null;
    if (!found) {
      at++;
      continue;
    }
    if (at > start) pieces.push(plain(text, start, at));
    pieces.push(found);
    start = at = found.end;
  }
  if (start < text.length) pieces.push(plain(text, start, text.length));
  return pieces;
}

function plain(text: string, start: number, end: number): Piece {
  return { kind: 'text', start, end, text: text.slice(start, end), display: false };
}

function mathAt(text: string, at: number): Piece | null {
  if (text.startsWith('\\boxed', at)) {
    const end = boxEnd(text, at);
    return end === null ? null : { kind: 'math', start: at, end, text: text.slice(at, end), display: false };
  }
  const delimiter = DELIMITERS.find(({ open }) => text.startsWith(open, at));
  if (!delimiter) return null;
  const inner = at + delimiter.open.length;
  // No further than a formula reaches, or a text of openers would be searched to its end for each of them.
  const length = text.slice(inner, inner + LENGTH_MAX + delimiter.close.length).indexOf(delimiter.close);
  if (length <= 0) return null;
  const close = inner + length;
  const formula = text.slice(inner, close);
  // "$5 and $6" are prices: a formula in single dollars touches them, on one line, and no digit follows.
  const isPrice = /^\s|\s$|\n/.test(formula) || /\d/.test(text[close + 1] ?? '');
  if (delimiter.open === '$' && isPrice) return null;
  const end = close + delimiter.close.length;
  return { kind: 'math', start: at, end, text: formula, display: delimiter.display };
}

/** Behind the closing brace of the `\boxed{..}` that begins here. */
function boxEnd(text: string, at: number): number | null {
  const open = /^\\boxed\s*\{/.exec(text.slice(at, at + 16));
  if (!open) return null;
  let depth = 1;
  for (let i = at + open[0].length; i < text.length && i - at < LENGTH_MAX; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '{') depth++;
    else if (text[i] === '}' && --depth === 0) return i + 1;
  }
  return null;
}

/** What a box holds where that is plain text: KaTeX has no measures for the digits and letters of many scripts. */
export function plainBox(formula: string): string | null {
  return /^\\boxed\s*\{([^\\^_{}$&#%~]*)\}$/.exec(formula)?.[1] ?? null;
}

/** What stands in the last `\boxed{..}`, as the page reads it: evaluations read answers on the server, by more rules than this one. */
export function lastBox(text: string): string | null {
  for (let at = text.lastIndexOf('\\boxed'); at >= 0; at = at > 0 ? text.lastIndexOf('\\boxed', at - 1) : -1) {
    const end = boxEnd(text, at);
    if (end !== null) return text.slice(text.indexOf('{', at) + 1, end - 1);
  }
  return null;
}
