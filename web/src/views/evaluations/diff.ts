// Where two texts differ, word by word.

export interface DiffPiece {
  /** In both, in the first alone, in the second alone; what was not compared of the first, and of the second. */
  kind: 'both' | 'a' | 'b' | 'rest-a' | 'rest-b';
  text: string;
}

/** Between what both begin and end with, more pieces than this are compared no further: the work grows with the product. */
export const PIECES_MAX = 1500;

/** Words, and signs of scripts that write none apart, each with the spaces behind it. */
export function piecesOf(text: string): string[] {
  return text.match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]\s*|[^\s\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]+\s*|\s+/gu) ?? [];
}

/** The longest common subsequence of both, and what is not in it. */
export function diffWords(a: string, b: string): DiffPiece[] {
  const [left, right] = [piecesOf(a), piecesOf(b)];
  let equal = 0;
  while (equal < Math.min(left.length, right.length) && left[equal] === right[equal]) equal++;
  const begin = left.splice(0, equal).join('');
  right.splice(0, equal);
  equal = 0;
  while (equal < Math.min(left.length, right.length) && left.at(-1 - equal) === right.at(-1 - equal)) equal++;
  const end = left.splice(left.length - equal).join('');
  right.splice(right.length - equal);
  const [restA, restB] = [left.splice(PIECES_MAX).join(''), right.splice(PIECES_MAX).join('')];
  const width = right.length + 1;
  // lengths[i * width + j]: of the longest common subsequence of what follows i and j.
  const lengths = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--) {
    for (let j = right.length - 1; j >= 0; j--) {
      lengths[i * width + j] = left[i] === right[j] ? lengths[(i + 1) * width + j + 1]! + 1 : Math.max(lengths[(i + 1) * width + j]!, lengths[i * width + j + 1]!);
    }
  }
  const pieces: DiffPiece[] = [];
  const put = (kind: DiffPiece['kind'], text: string) => {
    const last = pieces.at(-1);
    if (last?.kind === kind) last.text += text;
    else if (text) pieces.push({ kind, text });
  };
  put('both', begin);
  let [i, j] = [0, 0];
  while (i < left.length && j < right.length) {
    if (left[i] === right[j]) {
      put('both', left[i]!);
      i++;
      j++;
    } else if (lengths[(i + 1) * width + j]! >= lengths[i * width + j + 1]!) put('a', left[i++]!);
    else put('b', right[j++]!);
  }
  put('a', left.slice(i).join(''));
  put('b', right.slice(j).join(''));
  put('rest-a', restA);
  put('rest-b', restB);
  put('both', end);
  return pieces;
}
