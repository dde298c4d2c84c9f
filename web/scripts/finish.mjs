// The end of a build: packs what the server may send packed, and measures what a first visit loads. Fails over the limit.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const LIMIT_BYTES = 60_000;
const assets = new URL('../dist/assets/', import.meta.url);
const sizes = new Map();

for (const name of readdirSync(assets)) {
  if (!/\.(js|css|svg)$/.test(name)) continue;
  const packed = gzipSync(readFileSync(new URL(name, assets)), { level: 9 });
  writeFileSync(new URL(`${name}.gz`, assets), packed);
  sizes.set(name, packed.length);
}

const page = readFileSync(new URL('../dist/index.html', import.meta.url), 'utf8');
/** The scripts that the page names, with all that they import at once. */
function firstLoad(names, seen = new Set()) {
  for (const name of names.filter((name) => name.endsWith('.js') && !seen.has(name))) {
    seen.add(name);
    const source = readFileSync(new URL(name, assets), 'utf8');
    const imports = [...source.matchAll(/(?:^|[;}])import(?:[^"'()]*?from)?["']\.\/([^"']+)["']/g)].map((found) => found[1]);
    firstLoad(imports, seen);
  }
  return seen;
}
const named = [...page.matchAll(/\/assets\/([^"]+)/g)].map((found) => found[1]);
const shell = [...firstLoad(named)];
// The view that opens first comes with it, and of the words of both the language with the most.
const view = [...firstLoad([...sizes.keys()].filter((name) => name.startsWith('Playground-')))];
const largest = (area) => [...sizes.keys()].filter((name) => name.startsWith(`${area}-`) && name.endsWith('.js')).reduce((a, b) => (sizes.get(a) > sizes.get(b) ? a : b));
const loaded = new Set([...shell, ...view, largest('shell'), largest('playground')]);
const total = [...loaded].reduce((sum, name) => sum + sizes.get(name), 0);
const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`;
for (const [name, size] of [...sizes].sort((a, b) => b[1] - a[1])) console.log(`${kB(size).padStart(9)}  ${name}`);
console.log(`${kB(total).padStart(9)}  first load of JavaScript, gzipped (shell and playground; at most ${kB(LIMIT_BYTES)})`);
if (total > LIMIT_BYTES) {
  console.error('too much: import what a first visit does not need lazily');
  process.exit(1);
}
