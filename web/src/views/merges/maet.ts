// What `xenoglot maet select --json` writes, read with distrust, as a grid of layers and modules.

export interface RankedTensor {
  name: string;
  elements: number;
  similarity: number;
  ability_norm: number;
  language_norm: number;
  rank: number | null;
  chosen: boolean;
}
export interface Selection {
  similarity: string;
  /** Model, its weight in the ability and in the language. */
  models: [string, number, number][];
  tensors: RankedTensor[];
}
export interface Grid {
  columns: string[];
  rows: { name: string; cells: (RankedTensor | null)[] }[];
  /** Outside of layers: embeddings, final norm, head. */
  others: RankedTensor[];
}

const TENSORS_MAX = 20_000;

/** Throws an error that names what is not as it should be. */
export function readSelection(text: string): Selection {
  const value: unknown = JSON.parse(text);
  const isObject = (one: unknown): one is Record<string, unknown> => typeof one === 'object' && one !== null && !Array.isArray(one);
  if (!isObject(value)) throw new TypeError('{similarity, models, tensors}');
  const { similarity, models, tensors } = value;
  if (typeof similarity !== 'string') throw new TypeError('similarity');
  const isModel = (one: unknown) => Array.isArray(one) && one.length === 3 && typeof one[0] === 'string' && Number.isFinite(one[1]) && Number.isFinite(one[2]);
  if (!Array.isArray(models) || !models.every(isModel)) throw new TypeError('models');
  if (!Array.isArray(tensors) || tensors.length > TENSORS_MAX) throw new TypeError('tensors');
  tensors.forEach((tensor: unknown, at) => {
    const isTensor = isObject(tensor) && typeof tensor.name === 'string' && typeof tensor.chosen === 'boolean' && (tensor.rank === null || Number.isInteger(tensor.rank))
      && [tensor.elements, tensor.similarity, tensor.ability_norm, tensor.language_norm].every((one) => typeof one === 'number' && Number.isFinite(one));
    if (!isTensor) throw new TypeError(`tensors.${at}`);
  });
  return value as unknown as Selection;
}

/** The last number between dots is the layer: `model.layers.3.self_attn.q_proj.weight`. */
const LAYER = /^(.*?)\.(\d+)\.(.+)$/;

export function gridOf({ tensors }: Selection): Grid {
  const named = tensors.map((tensor) => ({ tensor, found: LAYER.exec(tensor.name) }));
  const inLayers = named.flatMap(({ tensor, found }) => (found ? [{ tensor, stack: found[1]!, layer: Number(found[2]), module: found[3]! }] : []));
  const columns = [...new Set(inLayers.map(({ module }) => module))].sort();
  const stacks = new Set(inLayers.map(({ stack }) => stack));
  const rows = new Map<string, { stack: string; layer: number; cells: (RankedTensor | null)[] }>();
  for (const { tensor, stack, layer, module } of inLayers) {
    const key = `${stack} ${layer}`;
    const row = rows.get(key) ?? { stack, layer, cells: columns.map(() => null) };
    row.cells[columns.indexOf(module)] = tensor;
    rows.set(key, row);
  }
  const ordered = [...rows.values()].sort((a, b) => a.stack.localeCompare(b.stack) || a.layer - b.layer);
  return {
    columns,
    // A model with one stack needs no name for it.
    rows: ordered.map(({ stack, layer, cells }) => ({ name: stacks.size === 1 ? String(layer) : `${stack} ${layer}`, cells })),
    others: named.filter(({ found }) => !found).map(({ tensor }) => tensor),
  };
}

export const measures = ['similarity', 'ability_norm', 'language_norm', 'rank'] as const;
export type Measure = (typeof measures)[number];

/** A value's place from -1 to 1 among the largest of its kind. */
export function shade(value: number | null, largest: number): number {
  return value === null || largest <= 0 ? 0 : Math.max(-1, Math.min(1, value / largest));
}
