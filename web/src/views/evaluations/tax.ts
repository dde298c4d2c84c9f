// What a run's samples are written in, and how many tokens more a language takes than another for the same problems.
import type { SampleTable } from './table';

export interface LanguageShare {
  /** Null: in no language that can be told. */
  language: string | null;
  count: number;
}

/** For each language asked for: what most of the trace (or of the answer, without one) was in, the most frequent first and what is in
    none last. */
export function detectedLanguages(table: SampleTable): { language: string; samples: number; detected: LanguageShare[] }[] {
  const counts = new Map<string, Map<string | null, number>>();
  for (let row = 0; row < table.length; row++) {
    if (!table.isMeasured(row)) continue;
    const detected = table.detected(row);
    const language = table.language(row);
    const of = counts.get(language) ?? new Map<string | null, number>();
    counts.set(language, of.set(detected, (of.get(detected) ?? 0) + 1));
  }
  return [...counts].map(([language, of]) => {
    const detected = [...of].map(([language, count]) => ({ language, count })).sort((a, b) => Number(a.language === null) - Number(b.language === null) || b.count - a.count);
    return { language, samples: detected.reduce((sum, { count }) => sum + count, 0), detected };
  });
}

export interface Tax {
  language: string;
  /** Problems that both languages have samples of. */
  problems: number;
  tokens: number;
  /** Geometric mean of the problems' ratios, with its 95 % interval; null ends from fewer than two problems. */
  ratio: number;
  low: number | null;
  high: number | null;
}

/** Which tokens are counted: all of a completion, or those of its trace. */
export type Counted = 'all' | 'thinking';

/** Whether the tokens of traces are told, and most samples have one: a model that does not think may write a tag now and then. */
export function hasThinking(table: SampleTable): boolean {
  let [told, thought] = [0, 0];
  for (let row = 0; row < table.length; row++) {
    const tokens = table.thinkingTokens(row);
    if (tokens === null && table.isMeasured(row) && table.outcome(row) !== 'error') return false;
    if (tokens !== null) told++;
    if (tokens !== null && tokens > 0) thought++;
  }
  return thought > 0 && 2 * thought >= told;
}

/** Tokens of each language over those of the base, problem by problem where ids are those of translations. */
export function tokenTax(table: SampleTable, base: string, counted: Counted = 'all'): Tax[] {
  const sums = table.problems.map(() => ({ tokens: 0, count: 0 }));
  for (let row = 0; row < table.length; row++) {
    const tokens = counted === 'all' ? table.tokens(row) : table.thinkingTokens(row);
    const sum = sums[table.position(row)];
    if (tokens === null || tokens === 0 || !sum) continue;
    sum.tokens += tokens;
    sum.count++;
  }
  const bases = new Map<string, number>();
  const byLanguage = new Map<string, { id: string; mean: number }[]>();
  table.problems.forEach((problem, position) => {
    const sum = sums[position]!;
    if (!problem || sum.count === 0) return;
    const mean = sum.tokens / sum.count;
    if (problem.language === base) bases.set(problem.id, mean);
    byLanguage.set(problem.language, [...(byLanguage.get(problem.language) ?? []), { id: problem.id, mean }]);
  });
  return [...byLanguage].flatMap(([language, problems]) => {
    const pairs = problems.filter(({ id }) => bases.has(id));
    if (pairs.length === 0) return [];
    const logs = pairs.map(({ id, mean }) => Math.log(mean / bases.get(id)!));
    const mean = logs.reduce((sum, value) => sum + value, 0) / logs.length;
    const tokens = pairs.reduce((sum, { mean }) => sum + mean, 0) / pairs.length;
    const half = language === base ? 0 : halfWidth(logs, mean);
    const end = (sign: number) => (half === null ? null : Math.exp(mean + sign * half));
    return [{ language, problems: pairs.length, tokens, ratio: Math.exp(mean), low: end(-1), high: end(1) }];
  });
}

/** Of Student's 95 % interval for the mean. */
function halfWidth(values: number[], mean: number): number | null {
  const n = values.length;
  if (n < 2) return null;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  return studentQuantile(n - 1) * Math.sqrt(variance / n);
}

/** t at 97.5 %, by degrees of freedom: from tables up to ten, then by its expansion in 1 / degrees, good to 0.001. */
export function studentQuantile(degrees: number): number {
  const small = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];
  const z = 1.959964;
  return small[degrees - 1] ?? z + (z ** 3 + z) / (4 * degrees) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2) + (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / (384 * degrees ** 3);
}
