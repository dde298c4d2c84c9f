// The key in sessionStorage: kept for this tab, until it is closed, where its user ticks so.

const NAME = 'xenoglot.key';

export function keptKey(): string {
  try {
    return sessionStorage.getItem(NAME) ?? '';
  } catch {
    return ''; // a browser that keeps nothing
  }
}

/** None takes away the one that was kept. */
export function keepKey(key: string): void {
  try {
    if (key) sessionStorage.setItem(NAME, key);
    else sessionStorage.removeItem(NAME);
  } catch {
    // The key holds until the page is closed.
  }
}
