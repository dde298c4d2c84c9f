// What a plot is made of.

export interface PlotLine {
  name: string;
  /** A custom property, such as `--line-0`. */
  colour: string;
  dashed?: boolean;
  points: { x: number; y: number; low: number | null; high: number | null }[];
}

export interface PlotMark {
  name: string;
  label?: string;
  colour: string;
  x: number;
  y: number;
  /** Where its arrow begins. */
  from?: { x: number; y: number };
}

/** The line that ends so much before the point it leads to; null where nothing of it is left. */
export function lineBefore(from: { x: number; y: number }, to: { x: number; y: number }, gap: number): { x1: number; y1: number; x2: number; y2: number } | null {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  if (length <= gap) return null;
  const part = 1 - gap / length;
  return { x1: from.x, y1: from.y, x2: from.x + part * (to.x - from.x), y2: from.y + part * (to.y - from.y) };
}

const COLOURS = 8;
export const lineColour = (at: number): string => `--line-${at % COLOURS}`;

/** Round values in the range, about so many. */
export function ticksOf([low, high]: [number, number], about: number): number[] {
  const span = high - low;
  if (!(span > 0)) return [low];
  const rough = span / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= rough * 0.999)!;
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, at) => Number(((first + at) * step).toPrecision(12)));
}

/** Whole numbers from 1 to n, thinned so that they can be read. */
export function countTicks(n: number, most: number): number[] {
  const step = Math.max(1, Math.ceil(n / most));
  const ticks = Array.from({ length: Math.floor(n / step) }, (_, at) => (at + 1) * step);
  return [...new Set([1, ...ticks.filter((tick) => tick > 1 && tick < n - step / 2), n])];
}
