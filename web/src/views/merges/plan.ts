// A merge's plan as a picture's cells: which layer of the output gets how much of which model.
import type { Schema } from '../../api/types';

type Source = Schema<'MergePlanSource'>;

export interface Cell {
  /** Its part of what the models give, from 0 to 1; over the tensors of the layer by their size. */
  share: number;
  /** The weights as the configuration resolves them, least and most over the layer's tensors. */
  weights: [number, number] | null;
  /** The layers that it takes from there, where they are others than the output's. */
  from: number[];
  /** Differences are taken from it. */
  isBase: boolean;
  density: [number, number] | null;
}

/** A row a layer, a column a model; null where a model gives nothing. */
export function cells(plan: Schema<'MergePlan'>): (Cell | null)[][] {
  return plan.layers.map((layer) => plan.models.map((_, model) => cell(layer, model)));
}

function cell(layer: Schema<'MergePlanLayer'>, model: number): Cell | null {
  let share = 0;
  let isBase = false;
  const weights: number[] = [];
  const densities: number[] = [];
  const from = new Set<number>();
  const parameters = layer.parts.reduce((sum, part) => sum + part.parameters, 0) || 1;
  for (const part of layer.parts) {
    const given = partsOf(part).filter(({ source }) => source.model === model);
    if (part.base?.model === model && part.of_differences) isBase = true;
    for (const { source, weight, share: ofPart } of given) {
      share += (ofPart * part.parameters) / parameters;
      if (weight !== null) weights.push(weight);
      if (source.keep) densities.push(source.keep.density);
      if (source.layer != null && source.layer !== layer.layer) from.add(source.layer);
    }
  }
  const ends = (values: number[]): [number, number] | null => (values.length > 0 ? [Math.min(...values), Math.max(...values)] : null);
  const hasPart = isBase || layer.parts.some((part) => partsOf(part).some(({ source }) => source.model === model));
  return hasPart ? { share, weights: ends(weights), from: [...from].sort((a, b) => a - b), isBase, density: ends(densities) } : null;
}

/** What each source gives of a part. Between two models `t` is the way from the base to the other; without weights all give alike. */
export function partsOf(part: Schema<'MergePlanPart'>): { source: Source; weight: number | null; share: number }[] {
  const { t } = part.numbers as Record<string, unknown>;
  if (part.operation === 'slerp' && typeof t === 'number') {
    const sources = part.base ? [part.base, ...part.sources.filter(({ model }) => model !== part.base!.model)] : part.sources;
    return sources.map((source, at) => ({ source, weight: at === 0 ? 1 - t : t, share: at === 0 ? 1 - t : t }));
  }
  const sizes = part.sources.map(({ weight }) => Math.abs(weight ?? 1));
  const whole = sizes.reduce((sum, size) => sum + size, 0) || 1;
  return part.sources.map((source, at) => ({ source, weight: source.weight ?? null, share: sizes[at]! / whole }));
}
