// Names for what openapi/openapi.json describes. schema.d.ts is generated from it before every build and check, and not committed: it
// cannot be stale.
import type { components } from './schema';

export type Schema<Name extends keyof components['schemas']> = components['schemas'][Name];
