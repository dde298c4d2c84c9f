// The served models, for every view that offers a choice of them.
import { readJson } from './api/client';
import type { Schema } from './api/types';
import { onLeaving } from './session.svelte';

export type Model = Schema<'ModelCard'>;

export const models = $state({ list: [] as Model[] });
onLeaving(() => (models.list = []));

export async function loadModels(signal?: AbortSignal): Promise<void> {
  models.list = (await readJson<Schema<'ModelList'>>('/v1/models', signal)).data;
}
