// A training's metrics as curves: rows by step, which panel shows what, and what is drawn of many values.
import type { Schema } from '../../api/types';

type Row = Map<string, number>;

/** Values by step, in any order of coming. A step that comes again, after a checkpoint, takes the place of what it was. */
export class MetricTable {
  readonly #rows = new Map<number, Row>();
  #steps: number[] = [];

  take(values: Record<string, unknown>): void {
    const { step } = values;
    if (typeof step !== 'number') return;
    const row = this.#row(step);
    for (const [name, value] of Object.entries(values)) {
      if (name !== 'step' && typeof value === 'number') row.set(name, value);
    }
  }

  takeColumns({ step, series }: Schema<'MetricColumns'>): void {
    for (const [name, values] of Object.entries(series)) {
      values.forEach((value, at) => {
        if (value != null && step[at] !== undefined) this.#row(step[at]).set(name, value);
      });
    }
  }

  get lastStep(): number | undefined {
    return this.#steps.at(-1);
  }

  names(): string[] {
    return [...new Set([...this.#rows.values()].flatMap((row) => [...row.keys()]))];
  }

  /** The columns of these metrics, over the steps at which any of them has a value. */
  columns(names: string[]): { steps: number[]; values: (number | null)[][] } {
    const steps = this.#steps.filter((step) => names.some((name) => this.#rows.get(step)!.has(name)));
    return { steps, values: names.map((name) => steps.map((step) => this.#rows.get(step)!.get(name) ?? null)) };
  }

  #row(step: number): Row {
    const known = this.#rows.get(step);
    if (known) return known;
    const row: Row = new Map();
    this.#rows.set(step, row);
    const isNext = step > (this.lastStep ?? -1);
    this.#steps.push(step);
    if (!isNext) this.#steps.sort((a, b) => a - b);
    return row;
  }
}

export interface PanelLine {
  metric: string;
  /** How the legend names it; without one, as the metric. */
  name?: string;
  /** Metrics of what it varies by, or between. */
  deviation?: string;
  between?: [string, string];
}
export interface Panel {
  /** The word of its title, or a metric's own name. */
  title: string;
  /** What `title` has a place for. */
  part?: string;
  lines: PanelLine[];
}
export interface PanelGroup {
  name: 'reward' | 'loss' | 'policy' | 'lengths' | 'optimiser' | 'more';
  panels: Panel[];
}

/** What stands in other panels' bands, or tells nothing as a curve. */
const UNSHOWN = /^(epoch|num_tokens|reward_std|rewards\/.+\/std|eval_tokens|eval_perplexity|completions\/(min|max)_.*|clip_ratio\/(low_min|high_max))$/;
const PART = /^rewards\/(.+)\/mean$/;
const BY_LANGUAGE = /^eval_(.+)_loss$/;

/** The panels that have values, in groups. `following` names the parts of the reward that measure the language. */
export function panelGroups(names: string[], following: string[] = []): PanelGroup[] {
  const left = new Set(names.filter((name) => !UNSHOWN.test(name)));
  const panel = (title: string, ...lines: PanelLine[]): Panel => {
    const known = lines.filter(({ metric }) => left.delete(metric));
    return { title, lines: known };
  };
  const parts = names.filter((name) => PART.test(name)).map((metric): Panel => {
    const part = PART.exec(metric)![1]!;
    const title = following.includes(part) ? 'following' : 'part';
    return { ...panel(title, { metric, name: part, deviation: `rewards/${part}/std` }), part };
  });
  const languages = names.filter((name) => BY_LANGUAGE.test(name)).map((metric) => ({ metric, name: BY_LANGUAGE.exec(metric)![1]! }));
  const groups: PanelGroup[] = [
    { name: 'reward', panels: [panel('reward', { metric: 'reward', deviation: 'reward_std' }), ...parts, panel('equalGroups', { metric: 'frac_reward_zero_std' }, { metric: 'groups_resampled' })] },
    { name: 'loss', panels: [panel('loss', { metric: 'loss' }, { metric: 'eval_loss' }), panel('lossByLanguage', ...languages)] },
    {
      name: 'policy',
      panels: [
        panel('entropy', { metric: 'entropy' }),
        panel('kl', { metric: 'kl' }),
        panel('clipped', { metric: 'clip_ratio/low_mean' }, { metric: 'clip_ratio/high_mean' }, { metric: 'cispo_clip_ratio' }),
        panel('difference', { metric: 'sampling/sampling_logp_difference/mean' }, { metric: 'sampling/sampling_logp_difference/max' }),
      ],
    },
    {
      name: 'lengths',
      panels: [
        panel('length', { metric: 'completions/mean_length', between: ['completions/min_length', 'completions/max_length'] }),
        panel('endedLength', { metric: 'completions/mean_terminated_length', between: ['completions/min_terminated_length', 'completions/max_terminated_length'] }),
        panel('truncated', { metric: 'completions/clipped_ratio' }),
      ],
    },
    { name: 'optimiser', panels: [panel('learningRate', { metric: 'learning_rate' }), panel('gradNorm', { metric: 'grad_norm' }), panel('speed', { metric: 'tokens_per_second' })] },
  ];
  for (const name of names) if (/^clip_ratio\/region/.test(name)) left.delete(name);
  groups.push({ name: 'more', panels: [...left].map((metric) => ({ title: metric, lines: [{ metric }] })) });
  return groups.map((group) => ({ ...group, panels: group.panels.filter(({ lines }) => lines.length > 0) })).filter(({ panels }) => panels.length > 0);
}
