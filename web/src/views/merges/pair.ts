// A merge measured: the model that went in and what came out, on the same suite, in one evaluation that says whose they are. By its
// metadata it is found again, from any page.
import { readJson, sendJson } from '../../api/client';
import type { Eval, Run } from '../../api/evals';
import type { Schema } from '../../api/types';
import type { Model } from '../../models.svelte';
import { deleteEval, listEvals } from '../evaluations/runs';
import type { Merge } from './merge.svelte';

export const sides = ['before', 'after'] as const;
export type Side = (typeof sides)[number];
/** A run that was deleted is missing. */
export type Pair = Partial<Record<Side, Run>>;

const metadataOf = (of: Eval | Run) => of.metadata as Record<string, string>;

/** The name under which a model is served that a configuration calls by its path below the models directory; null where it is not. */
export function servedAs(path: string, models: Model[]): string | null {
  const folder = path.replace(/^(\.?\/)+|\/+$/g, '');
  const isAt = ({ root, parent }: Model) => !parent && (root === folder || (root ?? '').endsWith(`/${folder}`));
  return (models.find(({ id }) => id === path || id === folder) ?? models.find(isAt))?.id ?? null;
}

/** Evaluations of this merge, the newest first. */
export async function pairsOf(merge: Merge, signal: AbortSignal): Promise<Eval[]> {
  return (await listEvals(signal)).rows.filter((one) => metadataOf(one).merge === merge.id);
}

export async function readPair(evalId: string, signal: AbortSignal): Promise<Pair> {
  const { data } = await readJson<{ data: Run[] }>(`/v1/evals/${encodeURIComponent(evalId)}/runs?limit=100`, signal);
  // Runs that judge these again have no side.
  return Object.fromEntries(sides.flatMap((side) => data.filter((run) => metadataOf(run).side === side).map((run) => [side, run])));
}

export interface Asked {
  merge: Merge;
  suite: string;
  models: Record<Side, string>;
  source: Omit<Schema<'RunDataSource'>, 'type' | 'suite' | 'model'>;
}

/** Both runs, or neither. */
export async function startPair({ merge, suite, models, source }: Asked): Promise<Eval> {
  const type = 'xenoglot_suite';
  const made = await sendJson<Eval>('POST', '/v1/evals', { name: `${merge.output} · ${suite}`, data_source_config: { type, suite }, metadata: { merge: merge.id } });
  try {
    for (const side of sides) {
      const body = { name: models[side], metadata: { side }, data_source: { type, ...source, model: models[side] } };
      await sendJson<Run>('POST', `/v1/evals/${encodeURIComponent(made.id)}/runs`, body);
    }
  } catch (error) {
    await deleteEval(made.id).catch(() => {});
    throw error;
  }
  return made;
}
