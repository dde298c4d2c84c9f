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

/** Milliseconds below a second. */
export function duration(seconds: number): string {
  const [unit, value] = seconds < 1 ? (['millisecond', seconds * 1000] as const) : (['second', seconds] as const);
  return format(value, { style: 'unit', unit, maximumSignificantDigits: 3 });
}

export function dateTime(milliseconds: number): string {
  return new Intl.DateTimeFormat(language.code, { dateStyle: 'medium', timeStyle: 'short' }).format(milliseconds);
}

function format(value: number, options: Intl.NumberFormatOptions): string {
  return new Intl.NumberFormat(language.code, options).format(value);
}
