// The served models, for every view that offers a choice of them.
import { readJson } from './api/client';
import type { Schema } from './api/types';
import { onLeaving } from './session.svelte';

export type Model = Schema<'ModelCard'>;

/** `isRead`: that there is none is known. */
export const models = $state({ list: [] as Model[], isRead: false });
onLeaving(() => Object.assign(models, { list: [], isRead: false }));

export async function loadModels(signal?: AbortSignal): Promise<void> {
  const { data } = await readJson<Schema<'ModelList'>>('/v1/models', signal);
  Object.assign(models, { list: data, isRead: true });
}
