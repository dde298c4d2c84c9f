// Models by suites and languages, and what can be told apart.
import type { RunSummary, ScoreInterval } from './shapes';

export interface Cell extends ScoreInterval {
  run: RunSummary;
  problems: number;
  /** The suite's digest is not that of the newest run in the column. */
  isOtherSuite: boolean;
}

export interface Column {
  suite: string;
  /** Null: all languages. */
  language: string | null;
}

/** A model as one profile judges it; null: the suite's own. */
export interface MatrixRow {
  /** Of the model, and of the profile where there is one. */
  name: string;
  profile: string | null;
  cells: (Cell | null)[];
}

export interface Matrix {
  columns: Column[];
  rows: MatrixRow[];
}

const nameOf = ({ model, profile }: RunSummary): string => (profile ? `${model} · ${profile}` : model);

/** Measures more: over more problems, else from more samples of each. A trial of few problems takes no full run's place. */
const isFuller = (run: RunSummary, other: RunSummary): boolean => (run.scores!.overall.problems - other.scores!.overall.problems || run.n - other.n) > 0;

/** The fullest complete run of each model and profile on each suite, of equals the newest; runs come the newest first. */
export function matrixOf(runs: RunSummary[], metric: string, suites: string[]): Matrix {
  const fullest = new Map<string, RunSummary>();
  for (const run of runs) {
    if (!run.scores || !suites.includes(run.suite)) continue;
    const key = JSON.stringify([nameOf(run), run.suite]);
    const other = fullest.get(key);
    if (!other || isFuller(run, other)) fullest.set(key, run);
  }
  const shown = runs.filter((run) => fullest.get(JSON.stringify([nameOf(run), run.suite])) === run);
  const profiles = new Map(shown.map((run) => [nameOf(run), run.profile]));
  const columns = suites.flatMap((suite) => {
    const of = shown.filter((run) => run.suite === suite);
    const languages = [...new Set(of.flatMap((run) => run.scores!.languages.map(({ language }) => language)))];
    return [...(languages.length > 1 ? [null] : []), ...languages].map((language) => ({ suite, language }));
  });
  const cellOf = (name: string, { suite, language }: Column): Cell | null => {
    const run = fullest.get(JSON.stringify([name, suite]));
    const group = language === null ? run?.scores?.overall : run?.scores?.languages.find((group) => group.language === language);
    const score = group?.metrics[metric];
    const newest = shown.find((run) => run.suite === suite);
    return run && group && score ? { ...score, run, problems: group.problems, isOtherSuite: run.scores!.suite_sha256 !== newest?.scores!.suite_sha256 } : null;
  };
  const rows = [...profiles].map(([name, profile]) => ({ name, profile: profile ?? null, cells: columns.map((column) => cellOf(name, column)) }));
  return { columns, rows: rows.sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

/** What a cell of a column is held against: that of the base, or without one the best of those that the same profile judged. A value
    without an interval is held against nothing, nor anything against it. */
export function referenceOf(rows: MatrixRow[], column: number, row: MatrixRow, base: string | null): Cell | null {
  const others = rows.filter(({ name, profile }) => (base === null ? profile === row.profile : name === base));
  const cells = others.flatMap(({ cells }) => cells[column] ?? []).filter(({ low, high }) => low !== null && high !== null);
  return cells.reduce<Cell | null>((best, cell) => (best && best.value >= cell.value ? best : cell), null);
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
