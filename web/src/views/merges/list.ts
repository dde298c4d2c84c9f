// All merges, the newest first.
import { listed, type Listed } from '../../api/list';
import { isOver, type Merge } from './merge.svelte';

/** Of those that are known only what may have changed is read again: down to the last that is not over. */
export async function allMerges(known: Listed<Merge>, signal?: AbortSignal): Promise<Listed<Merge>> {
  const last = Math.max(0, known.rows.findLastIndex(({ status }) => !isOver(status)));
  let place = -1;
  const isEnough = (rows: Merge[]) => (place = known.rows.findIndex(({ id }) => id === rows.at(-1)?.id)) >= last;
  const { rows, isCut } = await listed<Merge>('/v1/merges', { order: 'desc', limit: '100' }, signal, isEnough);
  return place >= last ? { rows: [...rows, ...known.rows.slice(place + 1)], isCut: known.isCut } : { rows, isCut };
}
