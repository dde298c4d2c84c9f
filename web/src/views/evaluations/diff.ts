// Where two texts differ, word by word.

export interface DiffPiece {
  /** In both, in the first alone, in the second alone. */
  kind: 'both' | 'a' | 'b';
  text: string;
}

/** Texts of more pieces than this are compared no further: the work grows with the product. */
const PIECES_MAX = 1500;

/** Words, and signs of scripts that write none apart, each with the spaces behind it. */
export function piecesOf(text: string): string[] {
  return text.match(/[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]\s*|[^\s\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]+\s*|\s+/gu) ?? [];
}

/** The longest common subsequence of both, and what is not in it. */
export function diffWords(a: string, b: string): DiffPiece[] {
  const [left, right] = [piecesOf(a), piecesOf(b)];
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
  let [i, j] = [0, 0];
  while (i < left.length && j < right.length) {
    if (left[i] === right[j]) {
      put('both', left[i]!);
      i++;
      j++;
    } else if (lengths[(i + 1) * width + j]! >= lengths[i * width + j + 1]!) put('a', left[i++]!);
    else put('b', right[j++]!);
  }
  put('a', left.slice(i).join('') + restA);
  put('b', right.slice(j).join('') + restB);
  return pieces;
}
