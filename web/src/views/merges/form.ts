// A merge configuration as a form, and back. The text is the truth: what the form does not know of it, the form does not show.
import methodsFile from './methods.json';
import { readYaml, Unread, writeYaml, type Value } from './yaml';

/** A number, or a list that is interpolated over the layers. */
export type Setting = number | boolean | string | number[];
export type Settings = Record<string, Setting>;
export interface Source {
  model: string;
  parameters: Settings;
  /** Of a slice: the first layer, and the one after the last. */
  range?: [number, number];
}
export interface MergeForm {
  method: string;
  base: string;
  /** Models with all their layers, or slices stacked upon each other. */
  models: Source[];
  slices: Source[][] | null;
  parameters: Settings;
  dtype: string;
  outDtype: string;
  tokenizer: string;
}

export interface Parameter {
  name: string;
  about: string;
  default?: number | boolean;
  type?: string;
  choices?: (string | boolean)[];
  minimum?: number;
  maximum?: number;
}
export interface Method {
  name: string;
  about: string;
  needsBase: boolean;
  parameters: Parameter[];
}
export const methods: Method[] = methodsFile.methods;
export const dtypes: string[] = methodsFile.dtypes;

/** Set for each model; all others for the whole merge. */
const OF_MODELS = ['weight', 'density', 'gamma', 'scale'];
export function parametersOf(method: string): { ofModels: Parameter[]; shared: Parameter[] } {
  const known = methods.find(({ name }) => name === method)?.parameters ?? [];
  const isOfModels = ({ name }: Parameter) => OF_MODELS.includes(name) || (name === 'epsilon' && method.startsWith('della'));
  return { ofModels: known.filter(isOfModels), shared: known.filter((parameter) => !isOfModels(parameter) && parameter.name !== 'int8_mask') };
}

/** Methods to which a base is no more than one input among others. */
export const takesBase = (method: string) => !['linear', 'karcher', 'passthrough'].includes(method);

export const emptyForm = (): MergeForm => ({ method: 'linear', base: '', models: [], slices: null, parameters: {}, dtype: 'bfloat16', outDtype: '', tokenizer: '' });

export function writeForm(form: MergeForm): string {
  const settings = (parameters: Settings): Record<string, Value> => (Object.keys(parameters).length > 0 ? { parameters: parameters as Record<string, Value> } : {});
  const given = (name: string, value: string): Record<string, Value> => (value ? { [name]: value } : {});
  const inputs: Record<string, Value> = form.slices
    ? { slices: form.slices.map((sources) => ({ sources: sources.map(({ model, range, parameters }) => ({ model, layer_range: range ?? [0, 1], ...settings(parameters) })) })) }
    : { models: form.models.map(({ model, parameters }) => ({ model, ...settings(parameters) })) };
  return writeYaml({
    merge_method: form.method,
    ...given('base_model', form.base),
    ...inputs,
    ...settings(form.parameters),
    ...given('dtype', form.dtype),
    ...given('out_dtype', form.outDtype),
    ...given('tokenizer_source', form.tokenizer),
  });
}

/** Throws `Unread` where the text is more, or other, than the form shows. */
export function readForm(text: string): MergeForm {
  const top = mapping(readYaml(text));
  only(top, ['merge_method', 'base_model', 'models', 'slices', 'parameters', 'dtype', 'out_dtype', 'tokenizer_source']);
  const slices = top.slices === undefined ? null : list(top.slices).map((slice) => {
    const { sources, ...others } = mapping(slice);
    only(others, []);
    return list(sources).map((entry) => source(entry, true));
  });
  if (slices && top.models !== undefined) throw new Unread(0);
  return {
    method: words(top.merge_method),
    base: words(top.base_model),
    models: list(top.models).map((entry) => source(entry, false)),
    slices,
    parameters: settings(top.parameters),
    dtype: words(top.dtype),
    outDtype: words(top.out_dtype),
    tokenizer: words(top.tokenizer_source),
  };
}

function source(entry: Value, isSlice: boolean): Source {
  const known = mapping(entry);
  only(known, ['model', 'parameters', ...(isSlice ? ['layer_range'] : [])]);
  const read: Source = { model: words(known.model), parameters: settings(known.parameters) };
  if (!isSlice) return read;
  const [from, to, ...more] = list(known.layer_range);
  if (typeof from !== 'number' || typeof to !== 'number' || more.length > 0) throw new Unread(0);
  return { ...read, range: [from, to] };
}

function settings(value: Value | undefined): Settings {
  const read: Settings = {};
  for (const [name, setting] of Object.entries(mapping(value ?? {}))) {
    const isGradient = Array.isArray(setting) && setting.every((one) => typeof one === 'number');
    if (!isGradient && (typeof setting === 'object' || setting === null)) throw new Unread(0);
    read[name] = setting as Setting;
  }
  return read;
}

function mapping(value: Value | undefined): { [key: string]: Value } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Unread(0);
  return value;
}
function list(value: Value | undefined): Value[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Unread(0);
  return value;
}
function words(value: Value | undefined): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'object') throw new Unread(0);
  return String(value);
}
function only(value: { [key: string]: Value }, known: string[]): void {
  if (Object.keys(value).some((key) => !known.includes(key))) throw new Unread(0);
}

/** As a field shows it, and what is typed there: `0.5`, `0, 0.5, 1`, `true`, `l1`; empty is none. */
export function settingText(setting: Setting | undefined): string {
  return setting === undefined ? '' : Array.isArray(setting) ? setting.join(', ') : String(setting);
}
export function settingOf(text: string): Setting | undefined {
  const plain = text.trim().replace(/^\[(.*)\]$/s, '$1').trim();
  if (plain === '') return undefined;
  if (plain === 'true' || plain === 'false') return plain === 'true';
  const numbers = plain.split(',').map((part) => (part.trim() === '' ? NaN : Number(part)));
  if (numbers.every(Number.isFinite)) return numbers.length === 1 ? numbers[0]! : numbers;
  return plain;
}
