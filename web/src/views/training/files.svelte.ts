// Uploaded files that trainings may learn from.
import { request } from '../../api/client';
import { listed } from '../../api/list';
import type { Schema } from '../../api/types';
import { onLeaving } from '../../session.svelte';

export type FileObject = Schema<'FileObject'>;

export const files = $state({ list: [] as FileObject[], isCut: false });
onLeaving(() => Object.assign(files, { list: [], isCut: false }));

export async function loadFiles(): Promise<void> {
  const { rows, isCut } = await listed<FileObject>('/v1/files', { purpose: 'fine-tune', limit: '1000' });
  Object.assign(files, { list: rows, isCut });
}

export async function upload(file: File): Promise<FileObject> {
  const body = new FormData();
  body.append('purpose', 'fine-tune');
  body.append('file', file);
  const uploaded: FileObject = await (await request('/v1/files', { method: 'POST', body })).json();
  files.list = [uploaded, ...files.list];
  return uploaded;
}
