// What a run of a suite will draw, before it is made.
import type { EvalSuites } from './shapes';

export type SuiteLanguage = EvalSuites['data'][number]['languages'][number];

/** Samples of so many problems a language and samples a problem; null where the suite does not say how many problems there are. */
export function toDraw(languages: SuiteLanguage[], chosen: string[], limit: number | undefined, n: number): { languages: number; problems: number; samples: number } | null {
  const wanted = languages.filter(({ language }) => chosen.length === 0 || chosen.includes(language));
  if (wanted.length === 0 || wanted.some(({ problems }) => problems === null)) return null;
  const problems = wanted.reduce((sum, { problems }) => sum + Math.min(problems!, limit || Infinity), 0);
  return { languages: wanted.length, problems, samples: problems * n };
}
