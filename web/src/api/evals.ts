// Evaluations over HTTP: what the description of the API leaves open (results are an `object` there), and a run's events, followed
// over the end of connections and servers.
import { follow } from './follow';
import type { ServerEvent } from './sse';
import type { Schema } from './types';

/** A mean with its 95 % interval over problems; no interval from a single one. */
export interface Interval {
  mean: number;
  low: number | null;
  high: number | null;
  method: string;
}
export type ByCount = Record<string, Interval | null>;

export const outcomes = ['correct', 'wrong', 'truncated', 'no_box', 'undecided', 'error'] as const;
export type Outcome = (typeof outcomes)[number];

/** `results` of docs/formats.md. */
export interface LanguageResults {
  language: string | null;
  problems: number;
  samples: number;
  pass_at: ByCount;
  pass_at_present: ByCount;
  consistent_pass_at: ByCount;
  pass_all_at: ByCount;
  majority_at: ByCount;
  majority: Interval | null;
  consistency: Interval | null;
  trace_score: Interval | null;
  answer_score: Interval | null;
  outcomes: Record<Outcome, number>;
  language_undecidable: number;
  completion_tokens_mean: number | null;
  thinking_tokens_mean?: number | null;
  /** Share of completions that hold nothing. */
  empty?: number;
  metrics: Record<string, Interval | null>;
}
export interface Results {
  languages: LanguageResults[];
  overall: LanguageResults;
}

/** run.json of docs/formats.md, as far as the page reads it. */
export interface RunRecord {
  version: string;
  commit?: string | null;
  suite: { name: string; version: string; revision: string; sha256: string; prompts: string | null; variants: string[]; files: Record<string, string> };
  generator: { kind: string; model: string; endpoint: string | null; dtype: string | null; template_sha256: string | null; weights_sha256?: string };
  languages: string[];
  limit: number | null;
  shots: number;
  n: number;
  seed: number;
  sampling: Record<string, number>;
  thinking_prefix: boolean;
  scorer: Record<string, unknown>;
}

export type Run = Omit<Schema<'Run'>, 'xenoglot'> & {
  xenoglot: Omit<Schema<'RunProgress'>, 'scores' | 'provenance'> & { scores?: Results | null; provenance?: RunRecord | null };
};
export type Eval = Schema<'Eval'>;

/** What a `progress` event says. */
export interface Progress {
  status: string;
  samples_done: number;
  samples_total: number;
  passed: number;
  failed: number;
  errored: number;
  completion_tokens: number;
  error: string | null;
}

/** What an `output_item` event says. */
export interface SampleEvent {
  id: string;
  problem: string;
  language: string;
  sample: number;
  outcome: Outcome;
  following: boolean | null;
  completion_tokens: number | null;
}

export interface TextLanguage {
  score: number | null;
  switches: number;
  off_target: Record<string, number>;
  wrong_script_characters: number;
}

/** A line of samples.jsonl, without its completion. */
export interface SampleRecord {
  problem: string;
  language: string;
  sample: number;
  seed: number;
  choice: number | null;
  finish: string;
  completion_tokens: number | null;
  /** Not in records of older builds. */
  thinking_tokens?: number | null;
  error: string | null;
  outcome: Outcome;
  gold: string | null;
  verdict: string | null;
  reason: string | null;
  answer: string | null;
  span: [number, number] | null;
  boxes: number;
  unclosed_box: boolean;
  trace_language: TextLanguage | null;
  answer_language: TextLanguage | null;
  following: boolean | null;
  language_undecidable: boolean;
  metrics: Record<string, number>;
  detail: string | null;
  judge: { finding: unknown; format: string; attempts: number; explanation: string | null }[];
}

export interface Message {
  role: string;
  content: string;
}
/** An output item. (Its name in the API's description is that of another shape.) */
export interface OutputItem {
  id: string;
  status: string;
  sample: { input: Message[]; output: Message[]; finish_reason: string; error: { message: string } | null; seed: number };
  xenoglot: SampleRecord;
}

export function runPath(evalId: string, runId: string): string {
  return `/v1/evals/${encodeURIComponent(evalId)}/runs/${encodeURIComponent(runId)}`;
}

/** No worker will go on with it by itself. */
export function isOver(status: string): boolean {
  return status === 'completed' || status === 'failed' || status === 'canceled';
}

export function isActive(status: string): boolean {
  return status === 'queued' || status === 'in_progress';
}

/** All that happens to a run after the event of that number, until it has ended. What comes has been told once, however often the
    connection broke. */
export function runEvents(path: string, after: number, signal: AbortSignal): AsyncGenerator<ServerEvent> {
  return follow(`${path}/events`, { signal, after: String(after) });
}
