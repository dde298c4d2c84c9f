// Requests to the server of this page, with the user's key. Errors are the API's own, or status 0 where nobody answered.
import { leaving, refuse, session } from '../session.svelte';
import { isGone, serverIsGone, untilAnswered } from './connection';
import type { Schema } from './types';

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** How long the server asks to be left alone; 0 where it does not say. */
    readonly retryAfterMs = 0,
    /** The field at fault, as a path in the request's body. */
    readonly param: string | null = null,
  ) {
    super(message);
  }
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (session.key) headers.set('authorization', `Bearer ${session.key}`);
  // What was asked with a key is of no use to who comes after its user.
  const signal = init.signal ? AbortSignal.any([init.signal, leaving()]) : leaving();
  let response: Response;
  try {
    response = await fetch(path, { ...init, signal, headers, cache: 'no-store', credentials: 'omit', redirect: 'error' });
  } catch (error) {
    if (signal.aborted) throw error;
    serverIsGone();
    throw new ApiError(0, String(error));
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return jsonOf<T>(await request(path, { signal }));
}

/** The same over the end of a server: for what a page shows, and nobody would ask for again. */
export function readJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return untilAnswered(() => getJson<T>(path, signal), signal);
}

export async function sendJson<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  return jsonOf<T>(await request(path, { method, signal, ...jsonBody(body) }));
}

async function jsonOf<T>(response: Response): Promise<T> {
  try {
    return await response.json();
  } catch (error) {
    // The connection broke in the middle.
    throw error instanceof TypeError ? new ApiError(0, String(error)) : error;
  }
}

export function jsonBody(body: unknown): RequestInit {
  return body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } };
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => '');
  const retryAfterMs = 1000 * (Number(response.headers.get('retry-after')) || 0);
  const told = toldBy(text);
  const message = told?.message ?? (text.slice(0, 200) || response.statusText);
  const error = new ApiError(response.status, message, retryAfterMs, told?.param ?? null);
  if (isGone(response.status)) serverIsGone();
  // A key that was taken away while the page was open.
  if (response.status === 401 && session.status === 'open') refuse(error.message);
  return error;
}

function toldBy(text: string): Schema<'ErrorResponse'>['error'] | null {
  try {
    return (JSON.parse(text) as Schema<'ErrorResponse'>).error;
  } catch {
    return null; // another's page: a proxy's
  }
}
