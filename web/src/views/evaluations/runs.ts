// Lists of evaluations and runs, and what runs are told.
import { request, sendJson } from '../../api/client';
import { save } from '../../api/download';
import { runPath, type Eval, type Run } from '../../api/evals';
import { listed, type Listed } from '../../api/list';
import type { Schema } from '../../api/types';
import type { RunSummary } from './shapes';

export function listEvals(signal?: AbortSignal): Promise<Listed<Eval>> {
  return listed<Eval>('/v1/evals', { order: 'desc', limit: '100' }, signal);
}

/** Runs of all evals, the newest first. */
export function allRuns(filter: Record<string, string> = {}, signal?: AbortSignal): Promise<Listed<RunSummary>> {
  return listed<RunSummary>('/v1/runs', { ...filter, limit: '500' }, signal);
}

export type Action = 'pause' | 'resume' | 'cancel';

/** What a run of that status can be told. */
export function actionsOf(status: string): Action[] {
  if (status === 'queued' || status === 'in_progress') return ['pause', 'cancel'];
  if (status === 'paused') return ['resume', 'cancel'];
  return status === 'failed' ? ['resume'] : [];
}

/** A run, or what a list says of one. */
export type Named = Pick<Run, 'id' | 'eval_id' | 'name'>;

export function tell(run: Named, action: Action): Promise<Run> {
  return sendJson<Run>('POST', `${runPath(run.eval_id, run.id)}/${action}`);
}

export async function deleteRun(run: Named): Promise<void> {
  await request(runPath(run.eval_id, run.id), { method: 'DELETE' });
}

export async function deleteEval(id: string): Promise<void> {
  await request(`/v1/evals/${encodeURIComponent(id)}`, { method: 'DELETE' });
}

export interface Asked {
  /** An eval that is there, or none: one is made. */
  evalId: string;
  suite: string;
  name: string;
  source: Omit<Schema<'RunDataSource'>, 'type' | 'suite'>;
}

/** An eval of the suite, unless there is one, and a run of it. */
export async function startRun({ evalId, suite, name, source }: Asked): Promise<Run> {
  const type = 'xenoglot_suite';
  const id = evalId || (await sendJson<Eval>('POST', '/v1/evals', { name: name || suite, data_source_config: { type, suite } })).id;
  const body = { ...(name && { name }), data_source: { type, ...source } };
  try {
    return await sendJson<Run>('POST', `/v1/evals/${encodeURIComponent(id)}/runs`, body);
  } catch (error) {
    // What was refused leaves nothing behind.
    if (!evalId) await deleteEval(id).catch(() => {});
    throw error;
  }
}

export const exportFormats = ['jsonl', 'csv', 'markdown', 'lm-eval'] as const;

/** The key goes in a header, so that a link would not do: the file is fetched, and given to the browser as one. */
export async function download(run: Named, format: (typeof exportFormats)[number]): Promise<void> {
  const response = await request(`${runPath(run.eval_id, run.id)}/export?format=${format}`);
  const named = /filename="?([^";]+)"?/.exec(response.headers.get('content-disposition') ?? '')?.[1];
  save(await response.blob(), named ?? `${run.id}.${format}`);
}

/** Judged again, without generating, as a new run. */
export function rescore(run: Named, profile: string): Promise<Run> {
  return sendJson<Run>('POST', `${runPath(run.eval_id, run.id)}/rescore`, profile ? { profile } : {});
}
