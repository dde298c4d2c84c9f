// The words of the interface: a JSON catalogue a language and area (shell, playground, server, ..). A view's catalogue is loaded with
// the view. English is the base; tests/catalogues.test.mjs holds the others to its keys.
import { loadPart } from './api/part';
import { store, stored } from './preferences.svelte';

type Catalogue = Record<string, string>;

/** Codes with the names that their speakers look for. */
export const interfaceLanguages = { en: 'English', es: 'Español', ja: '日本語', th: 'ไทย', ar: 'العربية' } as const;
export type InterfaceLanguage = keyof typeof interfaceLanguages;

const files = import.meta.glob<Catalogue>('./locales/*/*.json', { import: 'default' });
const areas = new Set<string>();
const words = $state<Record<string, string>>({});
export const language = $state({ code: 'en' as InterfaceLanguage });
let chosen: InterfaceLanguage;

/** The text of `area.key`, with `{name}` filled in. */
export function t(key: string, values: Record<string, string | number> = {}): string {
  const text = words[key] ?? '';
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** The catalogue of a view, in the language of now and of later. */
export async function loadArea(area: string): Promise<void> {
  areas.add(area);
  let code: InterfaceLanguage;
  let found: Catalogue;
  // The language may change while they come.
  do found = await wordsOf((code = language.code), [area]);
  while (code !== language.code);
  Object.assign(words, found);
}

export async function setLanguage(code: InterfaceLanguage): Promise<void> {
  chosen = code;
  let count: number;
  let found: Catalogue;
  // So may the areas.
  do found = await wordsOf(code, [...areas].slice(0, (count = areas.size)));
  while (count < areas.size);
  // Another language was chosen while they came.
  if (chosen !== code) return;
  Object.assign(words, found);
  language.code = code;
  store('language', code);
  show();
}

async function wordsOf(code: InterfaceLanguage, wanted: string[]): Promise<Catalogue> {
  const load = async (area: string) => {
    const catalogue = await loadPart(files[`./locales/${code}/${area}.json`]!);
    return Object.entries(catalogue).map(([key, text]) => [`${area}.${key}`, text]);
  };
  return Object.fromEntries((await Promise.all(wanted.map(load))).flat());
}

function show(): void {
  document.documentElement.lang = language.code;
  document.documentElement.dir = language.code === 'ar' ? 'rtl' : 'ltr';
}

function preferred(): InterfaceLanguage {
  const asked = [stored('language'), ...navigator.languages].map((tag) => tag?.split('-')[0]);
  return (asked.find((code) => code && code in interfaceLanguages) ?? 'en') as InterfaceLanguage;
}

language.code = preferred();
show();
