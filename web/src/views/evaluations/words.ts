// Figures of evaluations as the language of the interface writes them.
import { ApiError } from '../../api/client';
import type { Interval } from '../../api/evals';
import { language, t } from '../../i18n.svelte';

/** Always with one decimal, so that figures below each other can be compared at a glance. */
export function share(value: number): string {
  return new Intl.NumberFormat(language.code, { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(value);
}

function hundredths(value: number): string {
  return new Intl.NumberFormat(language.code, { minimumFractionDigits: 1, maximumFractionDigits: 1 }).format(100 * value);
}

/** An interval's ends in per cent, without their sign: it stands at the mean. */
export function range({ low, high }: Pick<Interval, 'low' | 'high'>): string {
  return low === null || high === null ? t('evaluations.noInterval') : `${hundredths(low)}–${hundredths(high)}`;
}

/** An interval of differences, whose ends may be negative: a dash between them would be read as another minus. Each end is isolated, so
    that it keeps its sign where text runs from right to left. */
export function signedRange({ low, high }: Pick<Interval, 'low' | 'high'>): string {
  if (low === null || high === null) return t('evaluations.noInterval');
  const end = (value: number) => isolated(withMinus(hundredths(value)));
  return t('evaluations.fromTo', { low: end(low), high: end(high) });
}

/** With a minus sign in place of a hyphen. */
export function withMinus(figure: string): string {
  return figure.replace('-', '−');
}

/** A name in any script, kept apart from what stands beside it where there can be no element. */
export function isolated(name: string): string {
  return `\u2068${name}\u2069`;
}

/** Seconds as hours and minutes, or minutes and seconds: at most two of them. */
export function timeSpan(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), 'day'],
    [Math.floor(whole / 3600) % 24, 'hour'],
    [Math.floor(whole / 60) % 60, 'minute'],
    [whole % 60, 'second'],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  const shown = first < 0 ? parts.slice(3) : parts.slice(first, first + 2);
  const unit = ([count, unit]: [number, string]) => new Intl.NumberFormat(language.code, { style: 'unit', unit, unitDisplay: 'narrow' }).format(count);
  return shown.map(unit).join(' ');
}

export function messageOf(failure: unknown): string {
  return failure instanceof ApiError || failure instanceof Error ? failure.message : String(failure);
}
