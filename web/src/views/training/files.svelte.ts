// Uploaded files that trainings may learn from.
import { readJson, request } from '../../api/client';
import type { Schema } from '../../api/types';
import { onLeaving } from '../../session.svelte';

export type FileObject = Schema<'FileObject'>;

export const files = $state({ list: [] as FileObject[] });
onLeaving(() => (files.list = []));

export async function loadFiles(): Promise<void> {
  const { data } = await readJson<{ data: FileObject[] }>('/v1/files?limit=1000');
  files.list = data.filter(({ purpose }) => purpose === 'fine-tune');
}

export async function upload(file: File): Promise<FileObject> {
  const body = new FormData();
  body.append('purpose', 'fine-tune');
  body.append('file', file);
  const uploaded: FileObject = await (await request('/v1/files', { method: 'POST', body })).json();
  files.list = [uploaded, ...files.list];
  return uploaded;
}
