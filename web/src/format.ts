// Numbers, shares, sizes and times as the language of the interface writes them.
import { language } from './i18n.svelte';

export function number(value: number, digits = 0): string {
  return format(value, { maximumFractionDigits: digits });
}

export function percent(share: number, digits = 0): string {
  return format(share, { style: 'percent', maximumFractionDigits: digits });
}

export function bytes(value: number): string {
  const [unit, size] = value >= 1e9 ? (['gigabyte', 1e9] as const) : (['megabyte', 1e6] as const);
  return format(value / size, { style: 'unit', unit, maximumFractionDigits: 1 });
}

/** So many digits as tell values apart; very small and very large ones with an exponent. */
export function significant(value: number, digits = 4): string {
  const size = Math.abs(value);
  const notation = value !== 0 && (size < 1e-3 || size >= 1e7) ? 'scientific' : 'standard';
  return format(value, { maximumSignificantDigits: digits, notation });
}

/** In the unit that makes it short: milliseconds below a second, minutes and hours where it is long. */
export function duration(seconds: number): string {
  const units = [['hour', 3600], ['minute', 60], ['second', 1]] as const;
  const [unit, size] = units.find(([, size]) => seconds >= 2 * size) ?? (seconds > 0 && seconds < 1 ? (['millisecond', 0.001] as const) : units[2]);
  const value = seconds / size;
  return format(value, { style: 'unit', unit, maximumSignificantDigits: 3 });
}

export function dateTime(milliseconds: number): string {
  return new Intl.DateTimeFormat(language.code, { dateStyle: 'medium', timeStyle: 'short' }).format(milliseconds);
}

export function clock(milliseconds: number): string {
  return new Intl.DateTimeFormat(language.code, { timeStyle: 'medium' }).format(milliseconds);
}

function format(value: number, options: Intl.NumberFormatOptions): string {
  return new Intl.NumberFormat(language.code, options).format(value);
}
