// One run as it is and as it goes on: read once, then followed by its events, over the end of connections and servers.
import { ApiError, readJson } from '../../api/client';
import { isOver, runEvents, runPath, type Progress, type Results, type Run, type SampleEvent } from '../../api/evals';
import { poll } from '../../api/poll';
import { paceOf, secondsLeft, withMoment, type Moment } from './pace';
import type { SampleColumns } from './shapes';
import { SampleTable } from './table';

/** The page is drawn again so often at most, however fast samples come. */
const SHOW_EVERY_MS = 150;
/** Languages of samples that come are read so often at most, and by one part in so many of the time. */
const MEASURE_EVERY_MS = 4000;
const MEASURE_SHARE = 30;
const MEASURE_PAUSE_MS_MAX = 60_000;

export class RunFeed {
  run = $state.raw<Run | null>(null);
  scores = $state.raw<Results | null>(null);
  /** Samples that the scores are over. */
  scored = $state(0);
  progress = $state.raw<Progress | null>(null);
  error = $state('');
  /** What is drawn from the table reads this first: it is another number when there are other samples. */
  version = $state(0);
  table = new SampleTable();
  isTableThere = $state(false);
  #moments = $state.raw<Moment[]>([]);
  #late: ReturnType<typeof setTimeout> | undefined;
  readonly path: string;

  constructor(
    readonly evalId: string,
    readonly runId: string,
  ) {
    this.path = runPath(evalId, runId);
  }

  get status(): string {
    return this.progress?.status ?? this.run?.status ?? 'queued';
  }

  pace(now: number) {
    return paceOf(this.#moments, now);
  }
  secondsLeft(now: number): number | null {
    return secondsLeft(this.#moments, now, this.progress?.samples_total ?? 0);
  }

  /** Follows until it is stopped. A run that was resumed is followed anew. */
  follow(): () => void {
    const abort = new AbortController();
    this.#follow(abort.signal).catch((error: Error) => {
      if (!abort.signal.aborted) this.error = error.message;
    });
    return () => {
      clearTimeout(this.#late);
      abort.abort();
    };
  }

  async #follow(signal: AbortSignal): Promise<void> {
    this.error = '';
    await Promise.all([this.#read(signal), this.#readTable(signal)]);
    for await (const { event, data } of runEvents(this.path, this.table.sequence, signal)) this.#take(event, JSON.parse(data));
    // Events told of neither languages nor provenance.
    await this.#read(signal);
    if (this.table.isBehind) await this.#readTable(signal);
  }

  /** Events tell of no languages: while a page shows them and the run goes on, they are read again as samples come, the more rarely the
      longer it takes. */
  keepMeasured(): () => void {
    let pauseMs = MEASURE_EVERY_MS;
    const look = async (signal: AbortSignal) => {
      if (!this.isTableThere || !this.table.isBehind) return;
      const began = performance.now();
      await this.#readTable(signal);
      pauseMs = Math.min(MEASURE_PAUSE_MS_MAX, Math.max(MEASURE_EVERY_MS, MEASURE_SHARE * (performance.now() - began)));
    };
    // What did not come is read at the run's end, which tells of errors.
    return poll(look, () => pauseMs, () => {});
  }

  #isTableTooLong = false;

  #take(event: string, data: unknown): void {
    if (event === 'output_item') {
      this.table.add(data as SampleEvent);
      this.#late ??= setTimeout(() => this.#show(), SHOW_EVERY_MS);
    } else if (event === 'progress') {
      this.progress = data as Progress;
      const { samples_done: samples, completion_tokens: tokens } = this.progress;
      this.#moments = withMoment(this.#moments, { at: Date.now(), samples, tokens });
    } else if (event === 'scores') {
      const { samples, scores } = data as { samples: number; scores: Results };
      Object.assign(this, { scored: samples, scores });
    } else if (event === 'status') {
      // A pause is no part of the pace.
      this.#moments = [];
      this.#status((data as { status: string }).status);
    }
  }

  #status(status: string): void {
    if (this.progress) this.progress = { ...this.progress, status };
    if (this.run) this.run = { ...this.run, status };
  }

  #show(): void {
    clearTimeout(this.#late);
    this.#late = undefined;
    this.version++;
  }

  /** After the run was told something: its answer. */
  take(run: Run): void {
    // Such an answer has neither scores nor provenance.
    this.run = { ...run, xenoglot: { ...run.xenoglot, provenance: this.run?.xenoglot.provenance } };
    this.#status(run.status);
  }

  async #read(signal: AbortSignal): Promise<void> {
    this.run = await readJson<Run>(this.path, signal);
    const { samples_done, samples_total, scores, scores_samples } = this.run.xenoglot;
    const { passed, failed, errored } = this.run.result_counts;
    const completion_tokens = this.run.per_model_usage[0]?.completion_tokens ?? 0;
    this.progress = { status: this.run.status, samples_done, samples_total, passed, failed, errored, completion_tokens, error: this.run.error?.message ?? null };
    if (scores) Object.assign(this, { scores, scored: scores_samples });
  }

  async #readTable(signal: AbortSignal): Promise<void> {
    if (this.#isTableTooLong) return;
    try {
      const columns = await readJson<SampleColumns>(`${this.path}/sample_table`, signal);
      if (this.isTableThere) this.table.learn(columns);
      else this.table = new SampleTable(columns);
    } catch (error) {
      // A run of more samples than an answer holds: its events tell of them.
      if (!(error instanceof ApiError) || (error.status !== 400 && error.status !== 404)) throw error;
      this.#isTableTooLong = error.status === 400;
    }
    this.isTableThere = true;
    this.#show();
  }

  get isOver(): boolean {
    return isOver(this.status);
  }
}
