// Where the page is: `#/playground?model=a`. The path names a view and what it shows, the query its filters; both are the view's
// state, so that every address can be sent to someone. No server sees what stands behind the `#`.

export const route = $state({ path: [] as string[], query: {} as Record<string, string> });

/** The last query of each view, to which its link in the navigation leads back. */
const lastQueries = new Map<string, Record<string, string>>();

export function href(path: string[], query: Record<string, string> = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== '');
  const search = new URLSearchParams(given).toString();
  return `#/${path.map(encodeURIComponent).join('/')}${search && `?${search}`}`;
}

/** To a view as it was left. */
export function viewHref(view: string): string {
  return href([view], lastQueries.get(view));
}

/** Changes filters in place; an empty value takes one away. */
export function setQuery(changes: Record<string, string>): void {
  history.replaceState(null, '', href(route.path, { ...route.query, ...changes }));
  read();
}

/** What was filtered by, and what else stands in addresses, goes with its user. */
export function forgetQueries(): void {
  lastQueries.clear();
  history.replaceState(null, '', href(route.path));
  read();
}

function read(): void {
  const [path = '', query = ''] = location.hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  route.path = path.split('/').filter(Boolean).map(decoded);
  route.query = Object.fromEntries(new URLSearchParams(query));
  if (route.path.length === 1) lastQueries.set(route.path[0]!, { ...route.query });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

addEventListener('hashchange', read);
read();
