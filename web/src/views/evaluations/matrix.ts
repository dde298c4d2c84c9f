// Models by suites and languages, and what can be told apart.
import type { RunSummary, ScoreInterval } from './shapes';

export interface Cell extends ScoreInterval {
  run: RunSummary;
  /** The suite's digest is not that of the newest run in the column. */
  isOtherSuite: boolean;
}

export interface Column {
  suite: string;
  /** Null: all languages. */
  language: string | null;
}

export interface Matrix {
  columns: Column[];
  rows: { model: string; cells: (Cell | null)[] }[];
}

/** The newest complete run of each model on each suite; runs come the newest first. */
export function matrixOf(runs: RunSummary[], metric: string, suites: string[]): Matrix {
  const newest = new Map<string, RunSummary>();
  const digests = new Map<string, string>();
  for (const run of runs) {
    if (!run.scores || !suites.includes(run.suite)) continue;
    const key = JSON.stringify([run.model, run.suite]);
    if (!newest.has(key)) newest.set(key, run);
    if (!digests.has(run.suite)) digests.set(run.suite, run.scores.suite_sha256);
  }
  const models = [...new Set([...newest.values()].map(({ model }) => model))].sort();
  const columns = suites.flatMap((suite) => {
    const of = [...newest.values()].filter((run) => run.suite === suite);
    const languages = [...new Set(of.flatMap((run) => run.scores!.languages.map(({ language }) => language)))];
    return [...(languages.length > 1 ? [null] : []), ...languages].map((language) => ({ suite, language }));
  });
  const cellOf = (model: string, { suite, language }: Column): Cell | null => {
    const run = newest.get(JSON.stringify([model, suite]));
    const group = language === null ? run?.scores?.overall : run?.scores?.languages.find((group) => group.language === language);
    const score = group?.metrics[metric];
    return run && score ? { ...score, run, isOtherSuite: run.scores!.suite_sha256 !== digests.get(suite) } : null;
  };
  return { columns, rows: models.map((model) => ({ model, cells: columns.map((column) => cellOf(model, column)) })) };
}

/** The difference a - b of two independent estimates with its interval, from theirs (Newcombe's hybrid score method). Runs that share
    problems are told apart by less: a comparison pairs them. */
export function difference(a: ScoreInterval, b: ScoreInterval): ScoreInterval {
  const value = a.value - b.value;
  if (a.low === null || a.high === null || b.low === null || b.high === null) return { value, low: null, high: null };
  return {
    value,
    low: value - Math.hypot(a.value - a.low, b.high - b.value),
    high: value + Math.hypot(a.high - a.value, b.value - b.low),
  };
}

export function isDistinguishable({ low, high }: Pick<ScoreInterval, 'low' | 'high'>): boolean {
  return low !== null && high !== null && (low > 0 || high < 0);
}

/** The k that lists of runs have: powers of two and of ten up to n, and n. */
export function countsOf(n: number): number[] {
  const counts = new Set([1, n]);
  for (const base of [2, 10]) for (let k = base; k <= n; k *= base) counts.add(k);
  return [...counts].sort((a, b) => a - b);
}

/** Names of metrics, for runs of so many samples a problem. */
export function metricsOf(ns: number[]): string[] {
  const counts = [...new Set(ns.flatMap(countsOf))].sort((a, b) => a - b);
  const at = (name: string) => counts.map((k) => `${name}@${k}`);
  return [...at('pass'), 'following', ...at('consistent_pass'), ...at('pass_all'), ...at('maj'), 'trace_score', 'answer_score'];
}

/** In how many languages b is at least as good as a in both, and better in one; of those that both have. */
export function dominated(a: LanguagePoint[], b: LanguagePoint[]): { count: number; of: number } {
  const pairs = a.flatMap((one) => {
    const other = b.find(({ language }) => language === one.language);
    return other ? [[one, other] as const] : [];
  });
  const isDominated = ([a, b]: readonly [LanguagePoint, LanguagePoint]) => b.x >= a.x && b.y >= a.y && (b.x > a.x || b.y > a.y);
  return { count: pairs.filter(isDominated).length, of: pairs.length };
}

/** A language's accuracy and following. */
export interface LanguagePoint {
  language: string;
  x: number;
  y: number;
}
