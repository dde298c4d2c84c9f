// How fast a run goes and when it will end, from what its events said of late.

export interface Moment {
  /** Milliseconds. */
  at: number;
  samples: number;
  tokens: number;
}

/** Samples come in bursts, as long as the slowest of those computed together: a window must hold several. */
const WINDOW_MS = 120_000;

/** With one more moment, without those that are too old to tell. */
export function withMoment(moments: Moment[], moment: Moment): Moment[] {
  const since = moment.at - WINDOW_MS;
  const late = moments.filter(({ at }, index) => at >= since || (moments[index + 1]?.at ?? moment.at) >= since);
  return [...late, moment];
}

export interface Pace {
  tokensPerSecond: number;
  samplesPerSecond: number;
}

/** Null until something came within the window. */
export function paceOf(moments: Moment[], now: number): Pace | null {
  const first = moments[0];
  const last = moments.at(-1);
  if (!first || !last || last.samples <= first.samples || now <= first.at) return null;
  const seconds = (now - first.at) / 1000;
  return { tokensPerSecond: (last.tokens - first.tokens) / seconds, samplesPerSecond: (last.samples - first.samples) / seconds };
}

/** Seconds until the last sample, if it goes on so. */
export function secondsLeft(moments: Moment[], now: number, total: number): number | null {
  const pace = paceOf(moments, now);
  const done = moments.at(-1)?.samples ?? 0;
  return pace ? Math.max(0, total - done) / pace.samplesPerSecond : null;
}
