// Lists of evaluations and runs, and what runs are told.
import { getJson, request, sendJson } from '../../api/client';
import { runPath, type Eval, type Run } from '../../api/evals';
import type { Schema } from '../../api/types';

interface Page<Row> {
  data: Row[];
  has_more: boolean;
  last_id?: string | null;
}

export async function listEvals(signal?: AbortSignal): Promise<Eval[]> {
  return (await getJson<Page<Eval>>('/v1/evals?order=desc&limit=100', signal)).data;
}

export async function listRuns(evalId: string, signal?: AbortSignal): Promise<Run[]> {
  return (await getJson<Page<Run>>(`/v1/evals/${encodeURIComponent(evalId)}/runs?order=desc&limit=100`, signal)).data;
}

export type Action = 'pause' | 'resume' | 'cancel';

/** What a run of that status can be told. */
export function actionsOf(status: string): Action[] {
  if (status === 'queued' || status === 'in_progress') return ['pause', 'cancel'];
  if (status === 'paused') return ['resume', 'cancel'];
  return status === 'failed' ? ['resume'] : [];
}

export function tell(run: Run, action: Action): Promise<Run> {
  return sendJson<Run>('POST', `${runPath(run.eval_id, run.id)}/${action}`);
}

export async function deleteRun(run: Run): Promise<void> {
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
