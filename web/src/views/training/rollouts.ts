// What a policy answered for one update: read whole, then filtered and put in order here.
import { readJson } from '../../api/client';
import type { Schema } from '../../api/types';

export type Rollouts = Schema<'FineTuningCompletions'>;
export type Rollout = Schema<'FineTuningCompletion'>;

/** An update has some hundred; more than these nobody reads. */
const ROWS_MAX = 10_000;
const PAGE = 100;

export async function readRollouts(job: string, step: string, signal: AbortSignal, onPage: (read: Rollouts) => void): Promise<void> {
  let rows: Rollout[] = [];
  for (let after = ''; ; ) {
    const query = new URLSearchParams({ limit: String(PAGE), ...(step ? { step } : {}), ...(after ? { after } : {}) });
    const page = await readJson<Rollouts>(`${job}/completions?${query}`, signal);
    rows = [...rows, ...page.data];
    onPage({ ...page, data: rows });
    if (!page.has_more || !page.last_id || rows.length >= ROWS_MAX) return;
    after = page.last_id;
  }
}

export const orders = ['', 'reward', 'advantage', 'tokens'] as const;
export type RolloutOrder = (typeof orders)[number];

export interface Wanted {
  /** Bounds of the reward, both included; an empty one is none. */
  least: string;
  most: string;
  order: RolloutOrder;
  text: string;
}

/** The highest first; equal ones as they were logged. */
export function wantedRollouts(rows: Rollout[], { least, most, order, text }: Wanted): Rollout[] {
  const [low, high] = [least === '' ? -Infinity : Number(least), most === '' ? Infinity : Number(most)];
  const found = rows.filter((row) => row.reward >= low && row.reward <= high && (text === '' || row.prompt.includes(text) || row.completion.includes(text)));
  return order === '' ? found : found.toSorted((a, b) => b[order] - a[order]);
}
