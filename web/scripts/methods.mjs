// What the merges' form offers, out of the schema of merge configurations:
// `xenoglot merge --schema | node scripts/methods.mjs > src/views/merges/methods.json`. tests/merges.test.mjs says when it is stale.
import { readFileSync } from 'node:fs';

/** `weight`, a number or a list of them: what one number may be. */
function kindOf({ anyOf: [plain] }) {
  const { type, enum: choices, minimum, maximum } = plain;
  return choices ? { choices } : { type, ...(minimum !== undefined && { minimum }), ...(maximum !== undefined && { maximum }) };
}

export function methodsOf(schema) {
  const needsBase = new Set(schema.allOf.filter(({ then }) => then.anyOf).map((rule) => rule.if.properties.merge_method.const));
  const methods = schema.properties.merge_method.oneOf.map(({ const: name, description }) => ({
    name,
    about: description,
    needsBase: needsBase.has(name),
    parameters: Object.entries(schema.$defs[`parameters_${name}`].properties).map(([name, property]) => ({
      name, about: property.description, ...(property.default !== undefined && { default: property.default }), ...kindOf(property),
    })),
  }));
  return { methods, dtypes: schema.$defs.dtype.enum.filter((name) => !name.startsWith('torch.')) };
}

if (process.argv[1] === import.meta.filename) console.log(JSON.stringify(methodsOf(JSON.parse(readFileSync(0, 'utf8'))), null, 1));
