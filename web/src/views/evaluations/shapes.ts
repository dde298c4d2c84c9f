// Shapes of the API under short names.
import type { Schema } from '../../api/types';

/** The server writes null for what is not there, and leaves nothing out: what the description calls optional is there. */
type Whole<T> = T extends (infer One)[] ? Whole<One>[] : T extends object ? { [Key in keyof T]-?: Whole<Exclude<T[Key], undefined>> } : T;

export type EvalSuites = Omit<Whole<Schema<'EvalSuites'>>, 'object'>;
export type EvalProtocol = Whole<Schema<'EvalProtocol'>>;
export type SampleColumns = Omit<Whole<Schema<'SampleTable'>>, 'object' | 'eval_id' | 'run_id' | 'suite'>;
export type ScoreInterval = Whole<Schema<'ScoreInterval'>>;
/** A run in `GET /v1/runs`. */
export type RunSummary = Whole<Schema<'RunSummary'>>;
export type RunComparison = Whole<Schema<'RunComparison'>>;
export type ComparedLanguage = Whole<Schema<'ComparedLanguage'>>;
export type ComparedProblem = Whole<Schema<'ComparedProblem'>>;
export type ComparedRun = Whole<Schema<'ComparedRun'>>;
