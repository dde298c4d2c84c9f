// The parts that decide without a browser: formulas and boxes, offsets, metrics, streams of events. Modules are read through Vite, as the
// page's are.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { createServer as createVite } from 'vite';

let vite;
const load = (path) => vite.ssrLoadModule(path);
before(async () => {
  vite = await createVite({ root: new URL('..', import.meta.url).pathname, server: { middlewareMode: true, ws: false }, appType: 'custom', logLevel: 'error', optimizeDeps: { noDiscovery: true } });
});
after(() => vite.close());

test('formulas are found, prices are none', async () => {
  const { splitMath } = await load('/src/text/math.ts');
  const check = (text, expected) => {
    const found = splitMath(text).filter(({ kind }) => kind === 'math').map((piece) => piece.text);
    assert.deepEqual(found, expected, text);
    assert.equal(splitMath(text).map(({ start, end }) => text.slice(start, end)).join(''), text);
  };
  check('so $x^2$ is', ['x^2']);
  check('$$a\n+b$$ and \\(c\\) and \\[d\\]', ['a\n+b', 'c', 'd']);
  check('\\boxed{\\frac{1}{2}}.', ['\\boxed{\\frac{1}{2}}']);
  check('\\boxed{a\\}b}', ['\\boxed{a\\}b}']);
  check('it costs $5 and $6', []);
  check('from $5 to $10 a day', []);
  check('open $x', []);
  check('\\boxed{open', []);
  check('$ x $', []);
  check('$$', []);
  check('', []);
});

test('the last box is the answer', async () => {
  const { lastBox } = await load('/src/text/math.ts');
  const check = (text, expected) => assert.equal(lastBox(text), expected, text);
  check('\\boxed{1} then \\boxed{2}', '2');
  check('\\boxed{\\frac{1}{2}}', '\\frac{1}{2}');
  check('\\boxed {٤٢}', '٤٢');
  check('\\boxed{1} and \\boxed{2', '1');
  check('no box', null);
  check('\\boxed', null);
});

test('offsets in bytes become those of strings, formulas stay whole', async () => {
  const { fromBytes, colouredPieces } = await load('/src/text/segments.ts');
  const text = '数え😀る。Then $a. b$ add.';
  const size = new TextEncoder().encode('数え😀る。').length;
  const all = new TextEncoder().encode(text).length;
  const segments = fromBytes(text, [{ start: 0, end: size, language: 'ja' }, { start: size, end: all, language: 'en' }]);
  assert.deepEqual(segments, [{ start: 0, end: 6, language: 'ja' }, { start: 6, end: text.length, language: 'en' }]);
  const pieces = colouredPieces(text, segments).map(({ text, language, kind }) => [kind, text, language]);
  assert.deepEqual(pieces, [['text', '数え😀る。', 'ja'], ['text', 'Then ', 'en'], ['math', 'a. b', null], ['text', ' add.', 'en']]);
});

test('metrics are read under any prefix', async () => {
  const { Metrics, parseMetrics, quantile } = await load('/src/views/server/prometheus.ts');
  assert.deepEqual(parseMetrics('# HELP a b\na{x="1,\\"}\\n"} 2 3\nb +Inf\n'), [
    { name: 'a', labels: { x: '1,"}\n' }, value: 2 },
    { name: 'b', labels: {}, value: Infinity },
  ]);
  const metrics = new Metrics('vllm:engine_steps_total{model_name="m"} 7\nvllm:t_bucket{le="+Inf"} 4\nvllm:t_bucket{le="0.5"} 1\n', 0);
  assert.equal(metrics.value('engine_steps_total', { model_name: 'm' }), 7);
  assert.deepEqual(metrics.labels('engine_steps_total', 'model_name'), ['m']);
  assert.deepEqual(metrics.buckets('t', {}).map(({ bound }) => bound), [0.5, Infinity]);
  const buckets = [{ bound: 1, count: 2 }, { bound: 2, count: 6 }, { bound: Infinity, count: 8 }];
  assert.equal(quantile(0.5, buckets), 1.5);
  assert.equal(quantile(0.99, buckets), 2);
  assert.equal(quantile(0.5, []), null);
});

test('a stream of events is read however it is cut', async () => {
  const { serverEvents } = await load('/src/api/sse.ts');
  const bytes = new TextEncoder().encode(': hello\n\nid: 1\nevent: status\ndata: "ä\ndata: b"\n\ndata:x\n\ndata: unfinished');
  for (const size of [1, 7, 1000]) {
    const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) => bytes.slice(at * size, (at + 1) * size));
    const found = [];
    for await (const event of serverEvents(new Response(new Blob(pieces).stream()))) found.push(event);
    assert.deepEqual(found, [{ id: '1', event: 'status', data: '"ä\nb"' }, { id: null, event: 'message', data: 'x' }]);
  }
});

test('a stream that breaks is taken up behind the last event', async () => {
  const asked = [];
  const server = createServer((request, response) => {
    if (request.url === '/version') return response.end('{}');
    const last = Number(request.headers['last-event-id'] ?? 0);
    asked.push(last);
    if (last === 0 && asked.length === 2) return response.writeHead(503).end('{}');
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (let id = last + 1; id <= Math.min(last + 2, 5); id++) response.write(`id: ${id}\ndata: ${id}\n\n`);
    if (last === 4) response.end('data: [DONE]\n\n');
    else if (asked.length === 1) response.destroy();
    else setTimeout(() => response.destroy(), 20);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  const plain = globalThis.fetch;
  globalThis.fetch = (path, init) => plain(url + path, { ...init, cache: undefined });
  try {
    const { follow } = await load('/src/api/events.ts');
    const found = [];
    for await (const { data } of follow('/events', { signal: new AbortController().signal })) found.push(data);
    assert.deepEqual(found, ['1', '2', '3', '4', '5']);
    assert.equal(asked.at(-1), 4);
  } finally {
    globalThis.fetch = plain;
    server.close();
  }
});
