// Merges: what one is, and the draft of a new one, which stays while the page is open.
import type { Schema } from '../../api/types';
import { onLeaving } from '../../session.svelte';
import { emptyForm, writeForm } from './form';

export type Merge = Schema<'Merge'>;

export const kinds = { queued: 'waiting', in_progress: 'running', completed: 'good', failed: 'bad', canceled: 'ended' } as const;
export const isOver = (status: string) => status === 'completed' || status === 'failed' || status === 'canceled';
export const mergePath = (id: string) => `/v1/merges/${encodeURIComponent(id)}`;

const blank = () => ({
  text: writeForm({ ...emptyForm(), models: [{ model: '', parameters: { weight: 0.5 } }, { model: '', parameters: { weight: 0.5 } }] }),
  output: '', seed: '', crimes: false, serve: true,
});
export const draft = $state(blank());
onLeaving(() => Object.assign(draft, blank()));
