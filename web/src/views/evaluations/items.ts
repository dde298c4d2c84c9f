// The samples of one problem in a language, with their completions.
import { readJson } from '../../api/client';
import type { OutputItem } from '../../api/evals';

const PAGE = 100;
const SAMPLE_MAX = 2 ** 32 - 1;

export interface Asked {
  problem: string;
  language: string;
  /** Where the run has it: its items stand together in the list, behind those of the position before. */
  position: number;
  /** How many are expected at most. */
  count: number;
}

/** Told by what the item says of itself, wherever in a list it stands. */
export function isOf({ xenoglot }: OutputItem, { problem, language }: Pick<Asked, 'problem' | 'language'>): boolean {
  return xenoglot.problem === problem && xenoglot.language === language;
}

/** In the order of their numbers. */
export async function samplesAt(path: string, asked: Asked, signal: AbortSignal): Promise<OutputItem[]> {
  const { position, count } = asked;
  const found = new Map<number, OutputItem>();
  let after = position === 0 ? '' : `outputitem_${position - 1}_${SAMPLE_MAX}`;
  while (found.size < count) {
    const query = new URLSearchParams({ include: 'output', limit: String(Math.min(PAGE, count - found.size)), ...(after && { after }) });
    const page = await readJson<{ data: OutputItem[]; has_more: boolean; last_id?: string | null }>(`${path}/output_items?${query}`, signal);
    const mine = page.data.filter((item) => isOf(item, asked));
    for (const item of mine) found.set(item.xenoglot.sample, item);
    // A page without one is past them.
    if (!page.has_more || mine.length === 0 || !page.last_id) break;
    after = page.last_id;
  }
  return [...found.values()].sort((a, b) => a.xenoglot.sample - b.xenoglot.sample);
}
