// The scrapes of late, from which rates and quantiles are taken. They stay while the page is open.
import { ApiError, request } from '../../api/client';
import { sleep } from '../../api/connection';
import { onLeaving } from '../../session.svelte';
import { Metrics, quantile } from './prometheus';

const INTERVAL_MS = 2000;
/** Where the key's limit has no room for more. */
const INTERVAL_MAX_MS = 60_000;
const SCRAPES_MAX = 300;
/** Latencies are those of the last minute, or of all time where it had none. */
const WINDOW_MS = 60_000;

export const history = $state({ scrapes: [] as Metrics[], error: '' });
onLeaving(() => Object.assign(history, { scrapes: [], error: '' }));

/** Scrapes until it is stopped. */
export function watchMetrics(): () => void {
  const abort = new AbortController();
  const { signal } = abort;
  const watch = async () => {
    for (let interval = INTERVAL_MS; ; ) {
      let wait = 0;
      // A page that nobody sees asks nothing: requests count against a key.
      if (!document.hidden) {
        try {
          await scrape(signal);
        } catch (error) {
          if (signal.aborted) return;
          history.error = error instanceof Error ? error.message : String(error);
          if (error instanceof ApiError && error.status === 429) {
            // Slower from now on: the key's user has other uses for its requests.
            interval = Math.min(2 * interval, INTERVAL_MAX_MS);
            wait = error.retryAfterMs;
          }
        }
      }
      await sleep(Math.max(wait, interval), signal);
    }
  };
  watch().catch(() => {}); // stopped while it slept
  return () => abort.abort();
}

async function scrape(signal: AbortSignal): Promise<void> {
  const text = await (await request('/metrics', { signal })).text();
  history.scrapes = [...history.scrapes, new Metrics(text, Date.now())].slice(-SCRAPES_MAX);
  history.error = '';
}

/** Of a counter, a second, at each scrape but the first. A counter that fell is another process's: no rate. */
export function rates(scrapes: Metrics[], name: string, model: string): (number | null)[] {
  const labels = { model_name: model };
  return scrapes.slice(1).map((scrape, index) => {
    const before = scrapes[index]!;
    const grown = scrape.value(name, labels) - before.value(name, labels);
    return grown < 0 ? null : (1000 * grown) / (scrape.at - before.at);
  });
}

/** Quantiles of a histogram, in seconds. */
export function latencies(scrapes: Metrics[], name: string, model: string, shares: number[]): (number | null)[] {
  const labels = { model_name: model };
  const now = scrapes.at(-1);
  if (!now) return shares.map(() => null);
  const all = now.buckets(name, labels);
  const before = scrapes.find(({ at }) => at >= now.at - WINDOW_MS)?.buckets(name, labels) ?? [];
  const late = all.map(({ bound, count }, index) => ({ bound, count: count - (before[index]?.count ?? 0) }));
  const hasLate = (late.at(-1)?.count ?? 0) > 0;
  return shares.map((share) => quantile(share, hasLate ? late : all));
}
