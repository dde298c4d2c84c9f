// The languages that the server can ask a model to think in, by code, and how the page names and colours them.
import { language } from '../i18n.svelte';

export const reasoningLanguages =
  'ar bn de en es fa fr hi id it ja ko nl pl pt ru sw te th tr uk vi zh'.split(' ');

/** In the language of the interface. Scripts, which the server names where it knows no language, stay as they are. */
export function languageName(code: string): string {
  if (!/^[a-z]{2,3}$/.test(code)) return code;
  return new Intl.DisplayNames(language.code, { type: 'language', fallback: 'code' }).of(code) ?? code;
}

const COLOURS = 8;

/** One of the colours `--language-0` .. `--language-7`: the same for a language wherever it is shown. */
export function colourOf(code: string): number {
  const at = reasoningLanguages.indexOf(code);
  return (at < 0 ? code.length + code.charCodeAt(0) : at) % COLOURS;
}
