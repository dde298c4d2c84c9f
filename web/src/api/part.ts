// Parts of the page that are loaded when they are first needed: views, words, libraries. One that did not come because the server was
// away is loaded again when it is back.
import { request } from './client';
import { untilAnswered, waitForServer } from './connection';

/** What a server does not give that often while it answers, it does not have: it is of another version. */
const ATTEMPTS_MAX = 3;

export async function loadPart<T>(load: () => Promise<T>): Promise<T> {
  await waitForServer();
  for (let attempt = 1; ; attempt++) {
    try {
      return await load();
    } catch (error) {
      if (attempt >= ATTEMPTS_MAX) throw error;
    }
    await untilAnswered(() => request('/version'));
    await loadStyles();
  }
}

/** Vite asks for a style sheet once, whether it came or not. */
async function loadStyles(): Promise<void> {
  const failed = [...document.querySelectorAll<HTMLLinkElement>('link[rel=stylesheet]')].filter(({ sheet }) => sheet === null);
  const loaded = failed.map((link) => {
    const again = link.cloneNode() as HTMLLinkElement;
    const ended = new Promise((resolve) => (again.onload = again.onerror = resolve));
    link.replaceWith(again);
    return ended;
  });
  await Promise.all(loaded);
}
