// What is drawn of a series: its smoothed course, and fewer points where there are more than a screen shows.

type Values = (number | null)[];

/** An exponential mean with the weight of what was before, without the pull of its beginning towards zero. */
export function smoothed(values: Values, weight: number): Values {
  let mean = 0;
  let seen = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return null;
    mean = weight * mean + (1 - weight) * value;
    seen++;
    return mean / (1 - weight ** seen);
  });
}

/** Indices of at most about so many points: of each stretch its ends, and of each series its lowest and highest, so that no peak is lost. */
export function thinned(length: number, series: Values[], points: number): number[] {
  if (length <= points) return Array.from({ length }, (_, at) => at);
  const stretches = Math.max(1, Math.floor(points / (2 + 2 * series.length)));
  const kept = new Set<number>([0, length - 1]);
  for (let stretch = 0; stretch < stretches; stretch++) {
    const [from, to] = [Math.floor((stretch * length) / stretches), Math.floor(((stretch + 1) * length) / stretches)];
    kept.add(from).add(to - 1);
    for (const values of series) {
      let [low, high] = [-1, -1];
      for (let at = from; at < to; at++) {
        const value = values[at] ?? null;
        if (value === null) continue;
        if (low < 0 || value < values[low]!) low = at;
        if (high < 0 || value > values[high]!) high = at;
      }
      if (low >= 0) kept.add(low).add(high);
    }
  }
  return [...kept].sort((a, b) => a - b);
}
