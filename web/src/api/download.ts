// A file of the server's to the user's disk. A plain link would not bring the key.
import { request } from './client';

export async function download(path: string, name: string): Promise<void> {
  save(await (await request(path)).blob(), name);
}

export function save(content: Blob, name: string): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement('a');
  Object.assign(link, { href: url, download: name });
  link.click();
  // Some browsers read it after the click.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
