// Requests to the server of this page, with the user's key. Errors are the API's own, or status 0 where nobody answered.
import { session } from '../session.svelte';
import { serverIsGone } from './connection';
import type { Schema } from './types';

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly code: string | null = null,
    readonly param: string | null = null,
  ) {
    super(message);
  }
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (session.key) headers.set('authorization', `Bearer ${session.key}`);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers, cache: 'no-store', credentials: 'omit', redirect: 'error' });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    serverIsGone();
    throw new ApiError(0, String(error));
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await request(path, { signal })).json();
}

export async function sendJson<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  return (await request(path, { method, signal, ...jsonBody(body) })).json();
}

export function jsonBody(body: unknown): RequestInit {
  return body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => '');
  // A key that was taken away while the page was open.
  if (response.status === 401 && session.status === 'open') Object.assign(session, { status: 'shut', scopes: [] });
  try {
    const { error } = JSON.parse(text) as Schema<'ErrorResponse'>;
    return new ApiError(response.status, error.message, error.code, error.param);
  } catch {
    return new ApiError(response.status, text.slice(0, 200) || response.statusText);
  }
}
