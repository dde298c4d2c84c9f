// Prometheus' text format, as far as /metrics writes it: samples by name, with their labels.

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export function parseMetrics(text: string): Sample[] {
  return text.split('\n').flatMap((line) => {
    if (line === '' || line.startsWith('#')) return [];
    const found = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    return found ? [{ name: found[1]!, labels: parseLabels(found[2] ?? ''), value: parseValue(found[3]!) }] : [];
  });
}

function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [, name, value] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels[name!] = value!.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped));
  }
  return labels;
}

function parseValue(text: string): number {
  return text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
}

/** A scrape, asked by names without the server's prefix. */
export class Metrics {
  readonly #samples = new Map<string, Sample[]>();

  constructor(
    text: string,
    readonly at: number,
  ) {
    const samples = parseMetrics(text);
    // The prefix is a setting of the server: this counter is there with any.
    const known = samples.find(({ name }) => name.endsWith('engine_steps_total'))?.name ?? 'xenoglot_engine_steps_total';
    const prefix = known.slice(0, -'engine_steps_total'.length);
    for (const sample of samples) {
      const name = sample.name.startsWith(prefix) ? sample.name.slice(prefix.length) : sample.name;
      this.#samples.set(name, [...(this.#samples.get(name) ?? []), sample]);
    }
  }

  /** 0 where there is no such series, as of a histogram that nothing was observed in. */
  value(name: string, labels: Record<string, string> = {}): number {
    return this.#matching(name, labels)[0]?.value ?? 0;
  }

  /** The values of a label over a metric's series, in their order. */
  labels(name: string, label: string): string[] {
    return [...new Set((this.#samples.get(name) ?? []).map((sample) => sample.labels[label] ?? ''))];
  }

  /** Bounds with cumulative counts, by bound. */
  buckets(name: string, labels: Record<string, string>): { bound: number; count: number }[] {
    const buckets = this.#matching(`${name}_bucket`, labels);
    return buckets.map((bucket) => ({ bound: parseValue(bucket.labels.le!), count: bucket.value })).sort((a, b) => a.bound - b.bound);
  }

  #matching(name: string, labels: Record<string, string>): Sample[] {
    const wanted = Object.entries(labels);
    return (this.#samples.get(name) ?? []).filter((sample) => wanted.every(([label, value]) => sample.labels[label] === value));
  }
}

/** The value that a share of the observations is at most, between bounds by a straight line, as Prometheus' histogram_quantile. */
export function quantile(share: number, buckets: { bound: number; count: number }[]): number | null {
  const total = buckets.at(-1)?.count ?? 0;
  if (total <= 0) return null;
  const rank = share * total;
  const at = buckets.findIndex(({ count }) => count >= rank);
  const { bound, count } = buckets[at]!;
  const below = buckets[at - 1] ?? { bound: 0, count: 0 };
  if (bound === Infinity) return below.bound;
  return count === below.count ? bound : below.bound + ((bound - below.bound) * (rank - below.count)) / (count - below.count);
}
