// The scrapes of late, from which rates and quantiles are taken. They stay while the page is open.
import { request } from '../../api/client';
import { Metrics, quantile } from './prometheus';

const INTERVAL_MS = 2000;
const SCRAPES_MAX = 300;
/** Latencies are those of the last minute, or of all time where it had none. */
const WINDOW_MS = 60_000;

export const history = $state({ scrapes: [] as Metrics[], error: '' });

/** Scrapes until it is stopped. */
export function watchMetrics(): () => void {
  const abort = new AbortController();
  const scrape = async () => {
    // A page that nobody sees asks nothing: requests count against a key.
    if (document.hidden) return;
    try {
      const text = await (await request('/metrics', { signal: abort.signal })).text();
      history.scrapes = [...history.scrapes, new Metrics(text, Date.now())].slice(-SCRAPES_MAX);
      history.error = '';
    } catch (error) {
      if (!abort.signal.aborted) history.error = error instanceof Error ? error.message : String(error);
    }
  };
  void scrape();
  const timer = setInterval(scrape, INTERVAL_MS);
  return () => (clearInterval(timer), abort.abort());
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
