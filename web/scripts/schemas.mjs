// The schemas that forms are generated from, out of openapi/openapi.json: one file a form, with all that its root refers to.
import { readFileSync, writeFileSync } from 'node:fs';

const FORMS = { CreateFineTuningJob: 'training' };
const { components } = JSON.parse(readFileSync(new URL('../../openapi/openapi.json', import.meta.url), 'utf8'));

for (const [root, name] of Object.entries(FORMS)) {
  const found = {};
  const visit = (schema) => {
    if (!components.schemas[schema]) throw new Error(`openapi.json has no schema ${schema}`);
    if (found[schema]) return;
    found[schema] = components.schemas[schema];
    for (const [, inner] of JSON.stringify(found[schema]).matchAll(/"#\/components\/schemas\/(\w+)"/g)) visit(inner);
  };
  visit(root);
  writeFileSync(new URL(`../src/api/schema.${name}.json`, import.meta.url), `${JSON.stringify({ root, schemas: found })}\n`);
}
