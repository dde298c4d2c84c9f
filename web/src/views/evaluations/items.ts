// The samples of one problem in a language, with their completions.
import { readJson } from '../../api/client';
import type { OutputItem } from '../../api/evals';

const PAGE = 100;
const SAMPLE_MAX = 2 ** 32 - 1;

/** In the order of their numbers; `count` of them are expected at most. */
export async function samplesAt(path: string, position: number, count: number, signal: AbortSignal): Promise<OutputItem[]> {
  const found: OutputItem[] = [];
  let after = position === 0 ? '' : `outputitem_${position - 1}_${SAMPLE_MAX}`;
  while (found.length < count) {
    const query = new URLSearchParams({ include: 'output', limit: String(Math.min(PAGE, count - found.length)), ...(after && { after }) });
    const page = await readJson<{ data: OutputItem[]; has_more: boolean; last_id?: string }>(`${path}/output_items?${query}`, signal);
    const mine = page.data.filter(({ id }) => id.startsWith(`outputitem_${position}_`));
    found.push(...mine);
    // Where those of the next problem begin.
    if (!page.has_more || mine.length < page.data.length) break;
    after = page.last_id!;
  }
  return found;
}
