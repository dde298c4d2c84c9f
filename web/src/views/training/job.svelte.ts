// One training, followed: what it is, what it says, what it measures.
import { ApiError, readJson, sendJson } from '../../api/client';
import { sleep, waitForServer } from '../../api/connection';
import { follow } from '../../api/follow';
import type { Schema } from '../../api/types';
import { MetricTable } from './metrics';

export type Job = Schema<'FineTuningJob'>;
export type JobEvent = Schema<'FineTuningEvent'>;
export type Checkpoint = Schema<'FineTuningCheckpoint'>;

const LOOK_EVERY_MS = 2000;
/** Of what it said, the latest. */
const MESSAGES_MAX = 500;

export const kinds = {
  validating_files: 'running', queued: 'waiting', running: 'running', paused: 'paused', succeeded: 'good', failed: 'bad', cancelled: 'ended',
} as const;

export function isOver(status: string): boolean {
  return status === 'succeeded' || status === 'failed' || status === 'cancelled';
}

export const jobPath = (id: string) => `/v1/fine_tuning/jobs/${encodeURIComponent(id)}`;

export class FollowedJob {
  job = $state.raw<Job | null>(null);
  /** The newest first. */
  messages = $state.raw<JobEvent[]>([]);
  checkpoints = $state.raw<Checkpoint[]>([]);
  /** There are older ones, which are not read. */
  isCut = $state(false);
  hasOlder = $state(false);
  error = $state('');
  /** Grows with the table of metrics. */
  version = $state(0);
  readonly metrics = new MetricTable();
  readonly path: string;
  #lastEvent = '';
  #firstEvent = '';
  #frame = 0;

  constructor(readonly id: string) {
    this.path = jobPath(id);
  }

  /** Until the training is over, or the signal is aborted. */
  async follow(signal: AbortSignal): Promise<void> {
    try {
      await this.#look(signal);
      if (!this.#lastEvent) await this.#readPast(signal);
      await Promise.all([this.#listen(signal), this.#watch(signal)]);
      this.error = '';
    } catch (error) {
      if (!signal.aborted) this.error = error instanceof Error ? error.message : String(error);
    }
  }

  async act(action: 'cancel' | 'pause' | 'resume'): Promise<void> {
    try {
      this.job = await sendJson<Job>('POST', `${this.path}/${action}`);
      this.error = '';
    } catch (error) {
      this.error = error instanceof Error ? error.message : String(error);
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    this.job = await readJson<Job>(this.path, signal);
    const { data, has_more } = await readJson<{ data: Checkpoint[]; has_more: boolean }>(`${this.path}/checkpoints?limit=100`, signal);
    Object.assign(this, { checkpoints: data, isCut: has_more });
  }

  /** What came before the stream that is listened to. */
  async #readPast(signal: AbortSignal): Promise<void> {
    // First, so that nothing falls between the two.
    this.#lastEvent = (await this.#readEvents('', signal))[0]?.id ?? '';
    const { updates, evaluations } = await readJson<Schema<'FineTuningMetrics'>>(`${this.path}/metrics`, signal);
    this.metrics.takeColumns(updates);
    this.metrics.takeColumns(evaluations);
    this.version++;
  }

  /** More of what it said earlier. */
  async readOlder(): Promise<void> {
    try {
      await this.#readEvents(this.#firstEvent);
    } catch (error) {
      this.error = error instanceof Error ? error.message : String(error);
    }
  }

  /** A page of events, the newest first. */
  async #readEvents(after: string, signal?: AbortSignal): Promise<JobEvent[]> {
    const query = new URLSearchParams({ limit: '100', ...(after ? { after } : {}) });
    const { data, has_more } = await readJson<{ data: JobEvent[]; has_more: boolean }>(`${this.path}/events?${query}`, signal);
    this.messages = [...this.messages, ...data.filter(({ type }) => type !== 'metrics')];
    this.#firstEvent = data.at(-1)?.id ?? this.#firstEvent;
    this.hasOlder = has_more;
    return data;
  }

  async #listen(signal: AbortSignal): Promise<void> {
    const hasEnded = async () => {
      await this.#look(signal);
      return isOver(this.job!.status);
    };
    for await (const { data } of follow(`${this.path}/events?stream=true`, { signal, after: this.#lastEvent, hasEnded })) {
      this.#take(JSON.parse(data));
    }
  }

  /** What no event tells: how far it is, and that it was paused. */
  async #watch(signal: AbortSignal): Promise<void> {
    while (!isOver(this.job!.status)) {
      await sleep(LOOK_EVERY_MS, signal);
      await waitForServer(signal);
      if (document.hidden) continue;
      try {
        await this.#look(signal);
      } catch (error) {
        // It comes again; a training that is gone does not.
        if (error instanceof ApiError && error.status === 404) throw error;
        signal.throwIfAborted();
      }
    }
  }

  #take(event: JobEvent): void {
    this.#lastEvent = event.id;
    if (event.type === 'metrics') {
      this.metrics.take(event.data as Record<string, unknown>);
      // A past of thousands of steps comes at once.
      this.#frame ||= requestAnimationFrame(() => {
        this.#frame = 0;
        this.version++;
      });
    } else {
      this.messages = [event, ...this.messages].slice(0, MESSAGES_MAX);
    }
  }
}

/** The parts of a reward that measure whether the language is the one asked for. */
export function followingParts(job: Job): string[] {
  const grader = job.method.reinforcement?.grader as { type?: string; name?: string; graders?: Record<string, { type: string }> } | null | undefined;
  if (!grader) return job.method.reinforcement?.preset ? ['lang'] : [];
  if (grader.graders) return Object.entries(grader.graders).flatMap(([name, { type }]) => (type === 'language_consistency' ? [name] : []));
  return grader.type === 'language_consistency' && grader.name ? [grader.name] : [];
}

/** Settings as asked for, a path and a value each. */
export function settings(value: unknown, path = ''): { path: string; value: string }[] {
  if (value === null || value === undefined) return [];
  if (typeof value !== 'object' || Array.isArray(value)) return [{ path, value: typeof value === 'string' ? value : JSON.stringify(value) }];
  return Object.entries(value).flatMap(([key, inner]) => settings(inner, path ? `${path}.${key}` : key));
}
