// Lists that the server gives a page at a time, read to their end.
import { readJson } from './client';

interface Page<Row> {
  data: Row[];
  has_more: boolean;
  last_id?: string | null;
}

export interface Listed<Row> {
  rows: Row[];
  /** The server has more: who shows the list says so (ui/ListEnd.svelte). */
  isCut: boolean;
}

/** More are not asked for: a search over so many is another page's work. */
export const PAGES_MAX = 20;

/** `isEnough` is asked after each page, for who knows the rest. */
export async function listed<Row>(path: string, query: Record<string, string>, signal?: AbortSignal, isEnough?: (rows: Row[]) => boolean): Promise<Listed<Row>> {
  const rows: Row[] = [];
  for (let [pages, after] = [0, '']; pages < PAGES_MAX; pages++) {
    const page = await readJson<Page<Row>>(`${path}?${new URLSearchParams({ ...query, ...(after && { after }) })}`, signal);
    rows.push(...page.data);
    if (!page.has_more || !page.last_id || isEnough?.(rows)) return { rows, isCut: false };
    after = page.last_id;
  }
  return { rows, isCut: true };
}
