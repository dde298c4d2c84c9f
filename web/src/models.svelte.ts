// The served models, for every view that offers a choice of them.
import { getJson } from './api/client';
import type { Schema } from './api/types';
import { onLeaving } from './session.svelte';

export type Model = Schema<'ModelCard'>;

export const models = $state({ list: [] as Model[] });
onLeaving(() => (models.list = []));

export async function loadModels(signal?: AbortSignal): Promise<void> {
  models.list = (await getJson<Schema<'ModelList'>>('/v1/models', signal)).data;
}
