// Which samples a table shows, and in which order. Filters stand in the address: a link shows the same rows.
import { outcomes, type Outcome } from '../../api/evals';
import type { SampleTable } from './table';

export type Following = '' | 'yes' | 'no';
export const orders = ['', 'tokens', '-tokens', 'problem'] as const;
export type RowOrder = (typeof orders)[number];

export interface Filters {
  /** None: all. */
  outcomes: Outcome[];
  languages: string[];
  following: Following;
  tokensMin: number | null;
  tokensMax: number | null;
  /** A part of the problem's id. */
  problem: string;
  order: RowOrder;
}

export function filtersOf(query: Record<string, string>): Filters {
  const list = (text = '') => text.split(',').filter(Boolean);
  const count = (text = '') => (/^\d+$/.test(text) ? Number(text) : null);
  return {
    outcomes: list(query.outcome).filter((name): name is Outcome => (outcomes as readonly string[]).includes(name)),
    languages: list(query.language),
    following: query.following === 'yes' || query.following === 'no' ? query.following : '',
    tokensMin: count(query.tokens_min),
    tokensMax: count(query.tokens_max),
    problem: query.problem ?? '',
    order: orders.find((order) => order === query.order) ?? '',
  };
}

/** The other way round; what is as usual is empty, which takes it out of an address. */
export function queryOf(filters: Filters): Record<string, string> {
  return {
    outcome: filters.outcomes.join(','),
    language: filters.languages.join(','),
    following: filters.following,
    tokens_min: filters.tokensMin === null ? '' : String(filters.tokensMin),
    tokens_max: filters.tokensMax === null ? '' : String(filters.tokensMax),
    problem: filters.problem,
    order: filters.order,
  };
}

/** The numbers of the rows that pass, in order. */
export function rowsOf(table: SampleTable, filters: Filters): Uint32Array {
  const rows = new Uint32Array(table.length);
  const wanted = filters.problem.toLowerCase();
  // Decided once a problem, not once a sample.
  const problems = table.problems.map(
    (problem) =>
      problem !== undefined &&
      (filters.languages.length === 0 || filters.languages.includes(problem.language)) &&
      problem.id.toLowerCase().includes(wanted),
  );
  const isFollowing = filters.following === 'yes';
  const [least, most] = [filters.tokensMin ?? 0, filters.tokensMax ?? Infinity];
  const isTokens = filters.tokensMin !== null || filters.tokensMax !== null;
  let count = 0;
  for (let row = 0; row < table.length; row++) {
    if (!problems[table.position(row)]) continue;
    if (filters.outcomes.length > 0 && !filters.outcomes.includes(table.outcome(row))) continue;
    if (filters.following !== '' && table.following(row) !== isFollowing) continue;
    if (isTokens) {
      const tokens = table.tokens(row);
      if (tokens === null || tokens < least || tokens > most) continue;
    }
    rows[count++] = row;
  }
  return ordered(table, rows.subarray(0, count), filters.order);
}

function ordered(table: SampleTable, rows: Uint32Array, order: RowOrder): Uint32Array {
  const place = (row: number) => table.position(row) * 2 ** 20 + table.sample(row);
  if (order === '') return rows;
  if (order === 'problem') return rows.sort((a, b) => place(a) - place(b));
  const sign = order === 'tokens' ? 1 : -1;
  // Samples of unknown length stand last either way.
  const length = (row: number) => table.tokens(row) ?? sign * Infinity;
  return rows.sort((a, b) => sign * (length(a) - length(b)) || place(a) - place(b));
}
