// The samples of a run as columns, a hundred thousand of them: what the server sends at once, and what its events add.
import { outcomes, type Outcome, type SampleEvent } from '../../api/evals';
import type { SampleColumns } from './shapes';

/** A problem in a language; its place in the run is the first number of its items' ids. */
export interface Problem {
  id: string;
  language: string;
}

export interface Row {
  problem: Problem;
  position: number;
  sample: number;
  outcome: Outcome;
  following: boolean | null;
  traceScore: number | null;
  answerScore: number | null;
  traceLanguage: string | null;
  answerLanguage: string | null;
  switches: number;
  wrongScript: number;
  tokens: number | null;
}

const UNKNOWN = 'unknown';

export class SampleTable {
  /** Number of the last event that it knows. */
  sequence = 0;
  problems: (Problem | undefined)[] = [];
  length = 0;
  #columns: SampleColumns;
  #outcomeOf: Record<string, Outcome> = {};
  #letterOf: Partial<Record<Outcome, string>> = {};
  #outcome: string[];
  #following: string[];
  /** Rows by position and number of their samples. */
  #known: Map<number, number> | null = null;
  #places = new Map<string, number>();
  /** Of each row, whether its languages are known: of those that were read, and not of those that events added. */
  #isMeasured: boolean[];
  #measured: number;

  constructor(columns: SampleColumns = nothing()) {
    this.#columns = columns;
    this.sequence = columns.sequence;
    this.length = columns.problem.length;
    this.#measured = columns.problem.length;
    this.#isMeasured = columns.problem.map(() => true);
    for (const [letter, name] of Object.entries(columns.outcomes)) {
      this.#outcomeOf[letter] = name as Outcome;
      this.#letterOf[name as Outcome] = letter;
    }
    this.#outcome = columns.outcome.split('');
    this.#following = columns.following.split('');
    columns.languages.forEach((name, place) => this.#places.set(name, place));
    this.problems = columns.problem_ids.map((id, at) => ({ id, language: columns.languages[columns.problem_languages[at]!] ?? UNKNOWN }));
  }

  /** A sample that came after the columns; false for one that they have already. */
  add(event: SampleEvent): boolean {
    const [position, sample] = event.id.split('_').slice(1).map(Number) as [number, number];
    if (this.#rows.has(keyOf(position, sample))) return false;
    this.problems[position] ??= { id: event.problem, language: event.language };
    this.#append(position, sample, event.outcome, event.following === null ? '-' : event.following ? 'y' : 'n', event.completion_tokens);
    return true;
  }

  /** What columns that were read later know of languages, and samples that no event has told of. Rows stay where they are. */
  learn(columns: SampleColumns): void {
    const own = this.#columns;
    const names = columns.languages.map((name) => this.#placeOf(name));
    const placeOf = (place: number | null | undefined) => (place == null ? null : names[place]!);
    columns.problem_ids.forEach((id, at) => (this.problems[at] = { id, language: columns.languages[columns.problem_languages[at]!] ?? UNKNOWN }));
    columns.problem.forEach((position, at) => {
      const sample = columns.sample[at]!;
      const outcome = columns.outcomes[columns.outcome[at]!] as Outcome;
      const row = this.#rows.get(keyOf(position, sample)) ?? this.#append(position, sample, outcome, columns.following[at]!, columns.completion_tokens[at]!);
      own.trace_score[row] = columns.trace_score[at]!;
      own.answer_score[row] = columns.answer_score[at]!;
      own.trace_language[row] = placeOf(columns.trace_language[at]);
      own.answer_language[row] = placeOf(columns.answer_language[at]);
      own.trace_switches[row] = columns.trace_switches[at]!;
      own.wrong_script_characters[row] = columns.wrong_script_characters[at]!;
      own.thinking_tokens[row] = columns.thinking_tokens[at]!;
      if (!this.#isMeasured[row]) this.#measured++;
      this.#isMeasured[row] = true;
    });
    this.sequence = Math.max(this.sequence, columns.sequence);
  }

  get #rows(): Map<number, number> {
    const { problem, sample } = this.#columns;
    return (this.#known ??= new Map(problem.map((position, row) => [keyOf(position, sample[row]!), row])));
  }

  #placeOf(name: string): number {
    const place = this.#places.get(name) ?? this.#columns.languages.push(name) - 1;
    this.#places.set(name, place);
    return place;
  }

  /** Of which nothing is known of languages. */
  #append(position: number, sample: number, outcome: Outcome, following: string, tokens: number | null): number {
    const columns = this.#columns;
    const row = this.length++;
    this.#rows.set(keyOf(position, sample), row);
    columns.problem.push(position);
    columns.sample.push(sample);
    this.#outcome.push(this.#letterOf[outcome] ?? '?');
    this.#following.push(following);
    columns.completion_tokens.push(tokens);
    columns.thinking_tokens.push(null);
    for (const column of [columns.trace_score, columns.answer_score, columns.trace_language, columns.answer_language]) column.push(null);
    columns.trace_switches.push(0);
    columns.wrong_script_characters.push(0);
    this.#isMeasured.push(false);
    return row;
  }

  position(row: number): number {
    return this.#columns.problem[row]!;
  }
  sample(row: number): number {
    return this.#columns.sample[row]!;
  }
  outcome(row: number): Outcome {
    return this.#outcomeOf[this.#outcome[row]!] ?? 'error';
  }
  following(row: number): boolean | null {
    const letter = this.#following[row];
    return letter === '-' ? null : letter === 'y';
  }
  tokens(row: number): number | null {
    return this.#columns.completion_tokens[row] ?? null;
  }
  /** Those of the trace, 0 without one; null where they are not told. */
  thinkingTokens(row: number): number | null {
    return this.#columns.thinking_tokens[row] ?? null;
  }
  language(row: number): string {
    return this.problems[this.position(row)]?.language ?? UNKNOWN;
  }
  /** Whether it is known what it is written in, if anything. */
  isMeasured(row: number): boolean {
    return this.#isMeasured[row]!;
  }
  /** Whether there are samples of which that is not known. */
  get isBehind(): boolean {
    return this.#measured < this.length;
  }
  /** What most of the trace is written in; of the answer, where there is no trace. */
  detected(row: number): string | null {
    const place = this.#columns.trace_language[row] ?? this.#columns.answer_language[row];
    return place == null ? null : (this.#columns.languages[place] ?? null);
  }

  row(row: number): Row {
    const columns = this.#columns;
    const name = (place: number | null | undefined) => (place == null ? null : (columns.languages[place] ?? null));
    const position = this.position(row);
    return {
      problem: this.problems[position] ?? { id: UNKNOWN, language: UNKNOWN },
      position,
      sample: this.sample(row),
      outcome: this.outcome(row),
      following: this.following(row),
      traceScore: columns.trace_score[row] ?? null,
      answerScore: columns.answer_score[row] ?? null,
      traceLanguage: name(columns.trace_language[row]),
      answerLanguage: name(columns.answer_language[row]),
      switches: columns.trace_switches[row] ?? 0,
      wrongScript: columns.wrong_script_characters[row] ?? 0,
      tokens: this.tokens(row),
    };
  }

  /** The problem in each of its languages, where ids are those of translations, by position. */
  parallel(id: string): number[] {
    return this.problems.flatMap((problem, position) => (problem?.id === id ? [position] : []));
  }
}

function keyOf(position: number, sample: number): number {
  return position * 2 ** 20 + sample;
}

function nothing(): SampleColumns {
  return {
    sequence: 0, languages: [], problem_ids: [], problem_languages: [], problem: [], sample: [], outcome: '', following: '',
    outcomes: Object.fromEntries(outcomes.map((name, at) => [String(at), name])),
    trace_score: [], answer_score: [], trace_language: [], answer_language: [], trace_switches: [], wrong_script_characters: [], completion_tokens: [],
    thinking_tokens: [],
  };
}
