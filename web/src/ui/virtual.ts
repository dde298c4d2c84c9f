// Of a long list, the rows that are seen, and a few beyond, so that scrolling finds them there.

interface Seen {
  /** Pixels that are scrolled away above, and that are seen. */
  top: number;
  height: number;
  /** Of one row. */
  row: number;
  count: number;
}

export function rowsSeen({ top, height, row, count }: Seen): { from: number; to: number } {
  const BEYOND = 8;
  const from = Math.max(0, Math.min(count, Math.floor(top / row) - BEYOND));
  return { from, to: Math.max(from, Math.min(count, Math.ceil((top + height) / row) + BEYOND)) };
}
