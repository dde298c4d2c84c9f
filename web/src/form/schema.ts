// What a JSON schema asks for, as fields of a form: the part of JSON Schema that the API's description uses. What it knows no form for
// is a field of JSON.

export interface JsonSchema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  enum?: unknown[];
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  additionalProperties?: boolean | JsonSchema;
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
  minimum?: number;
  maximum?: number;
}
export interface Described {
  root: string;
  schemas: Record<string, JsonSchema>;
}

interface Common {
  description: string;
  /** Left out, or null: the server's default. */
  isOptional: boolean;
}
export interface Property {
  name: string;
  schema: JsonSchema;
  isRequired: boolean;
}
export type Field = Common &
  (
    | { kind: 'text'; suggestions: string[] }
    | { kind: 'number'; isWhole: boolean; minimum?: number; maximum?: number }
    | { kind: 'flag' }
    | { kind: 'choice'; choices: string[] }
    /** Any of some words, any words, or objects. */
    | { kind: 'choices'; choices: string[] }
    | { kind: 'words' }
    | { kind: 'rows'; items: JsonSchema }
    | { kind: 'object'; properties: Property[] }
    /** An object whose `type` names the one of its other properties that holds the settings. */
    | { kind: 'tagged'; tags: string[]; properties: Property[] }
    /** One of several objects, told apart by their `type`. */
    | { kind: 'variants'; variants: Record<string, JsonSchema> }
    | { kind: 'map'; items: JsonSchema }
    | { kind: 'json' }
  );

export function fieldOf(schema: JsonSchema, described: Described, isOptional = false): Field {
  const known = resolved(schema, described);
  if (known.oneOf) {
    const others = known.oneOf.filter((one) => one.type !== 'null');
    const isNullable = others.length < known.oneOf.length;
    if (others.length === 1) {
      const field = fieldOf(others[0]!, described, isOptional || isNullable);
      return { ...field, description: known.description ?? field.description };
    }
    const variants = variantsOf(others, described);
    if (variants) return { kind: 'variants', variants, description: known.description ?? '', isOptional: isOptional || isNullable };
  }
  const types = [known.type ?? []].flat();
  const common = { description: known.description ?? '', isOptional: isOptional || types.includes('null') };
  const [type] = types.filter((one) => one !== 'null');
  switch (type) {
    case 'string':
      return known.enum ? { ...common, kind: 'choice', choices: known.enum.map(String) } : { ...common, kind: 'text', suggestions: quoted(common.description) };
    case 'integer':
    case 'number':
      return { ...common, kind: 'number', isWhole: type === 'integer', minimum: known.minimum, maximum: known.maximum };
    case 'boolean':
      return { ...common, kind: 'flag' };
    case 'array': {
      const items = resolved(known.items ?? {}, described);
      if (items.enum) return { ...common, kind: 'choices', choices: items.enum.map(String) };
      if (items.type === 'string') return { ...common, kind: 'words' };
      return items.properties ? { ...common, kind: 'rows', items: known.items! } : { ...common, kind: 'json' };
    }
    case 'object':
      return { ...common, ...objectOf(known, described) };
    default:
      return { ...common, kind: 'json' };
  }
}

function objectOf(known: JsonSchema, described: Described) {
  const { properties, additionalProperties, required = [] } = known;
  if (typeof additionalProperties === 'object' && !properties) return { kind: 'map' as const, items: additionalProperties };
  if (!properties) return { kind: 'json' as const };
  const listed = Object.entries(properties).map(([name, schema]) => ({ name, schema, isRequired: required.includes(name) }));
  const tags = properties.type && resolved(properties.type, described).enum?.map(String);
  if (tags?.every((tag) => tag in properties)) return { kind: 'tagged' as const, tags, properties: listed };
  return { kind: 'object' as const, properties: listed };
}

/** Objects with a `type` of one value each. */
function variantsOf(schemas: JsonSchema[], described: Described): Record<string, JsonSchema> | null {
  const variants: Record<string, JsonSchema> = {};
  for (const schema of schemas) {
    const parts = (schema.allOf ?? [schema]).map((part) => resolved(part, described));
    const { type, ...properties } = Object.assign({}, ...parts.map((part) => part.properties)) as Record<string, JsonSchema>;
    const [tag] = type?.enum ?? [];
    if (typeof tag !== 'string') return null;
    const description = parts.find((part) => part.description)?.description;
    variants[tag] = { type: 'object', description, properties, required: parts.flatMap((part) => part.required ?? []).filter((name) => name !== 'type') };
  }
  return variants;
}

/** What stands beside a reference goes before what it refers to. */
export function resolved(schema: JsonSchema, { schemas }: Described): JsonSchema {
  let known = schema;
  // A description refers to a few of its own, never to itself without end.
  for (let depth = 0; known.$ref && depth < 8; depth++) {
    const { $ref, ...beside } = known;
    known = { ...schemas[$ref.split('/').at(-1)!], ...beside };
  }
  return known;
}

/** The words that a description names in code: what may be meant. */
export function quoted(description: string): string[] {
  const words = [...description.matchAll(/`([\w.+-]+)`/g)].map((found) => found[1]!);
  return words.length > 1 ? [...new Set(words)] : [];
}

/** A description cut where code begins and ends. */
export function descriptionParts(description: string): { text: string; isCode: boolean }[] {
  return description.replace(/\s*\n\s*/g, ' ').split('`').map((text, index) => ({ text, isCode: index % 2 === 1 })).filter(({ text }) => text !== '');
}

/** An object with one property changed; undefined takes it away. */
export function withProperty(value: unknown, name: string, changed: unknown): Record<string, unknown> {
  const { [name]: _, ...others } = isObject(value) ? value : {};
  if (changed === undefined) return others;
  // In its place, so that a body reads as it was.
  return isObject(value) && name in value ? { ...value, [name]: changed } : { ...others, [name]: changed };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A field at fault as forms name it: `a.0.b` for `a[0].b`. */
export function pathOf(param: string): string {
  return param.replace(/\[(\w+)\]/g, '.$1');
}
