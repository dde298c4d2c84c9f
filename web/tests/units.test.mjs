// The parts that decide without a browser: formulas and boxes, offsets, metrics, streams of events. Modules are read through Vite, as the
// page's are.
import assert from 'node:assert/strict';
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
  check(`\\(${'x'.repeat(2000)}\\)`, ['x'.repeat(2000)]);
  check(`\\(${'x'.repeat(2001)}\\)`, []);
  check('\\( '.repeat(3), []);
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

/** Answers of the chat in turn, the last of them for ever; what the page sees of them, without its pauses. */
async function chatted(answers, signal = new AbortController().signal, onWait = () => {}) {
  const { chat } = await load('/src/api/chat.ts');
  const [plainFetch, plainTimeout] = [globalThis.fetch, globalThis.setTimeout];
  let asked = 0;
  globalThis.setTimeout = (call) => plainTimeout(call, 0);
  globalThis.fetch = async (path) => {
    if (path === '/version') return onWait() ?? new Response('{}');
    const answer = answers[Math.min(asked++, answers.length - 1)];
    return typeof answer === 'number' ? new Response('<h1>Bad gateway</h1>', { status: answer }) : new Response(answer);
  };
  const seen = [];
  try {
    for await (const event of chat({ messages: [], seed: 1 }, signal)) seen.push(event === 'again' ? event : event.id);
  } catch (error) {
    seen.push(error.message);
  } finally {
    await (await load('/src/api/connection.ts')).waitForServer();
    Object.assign(globalThis, { fetch: plainFetch, setTimeout: plainTimeout });
  }
  return { seen, asked };
}
const chunk = (id) => `data: {"id":"${id}"}\n\n`;
const DONE = 'data: [DONE]\n\n';

test('an answer that breaks off is asked for again', async () => {
  const check = async (answers, seen) => assert.deepEqual((await chatted(answers)).seen, seen);
  await check([chunk('a') + DONE], ['a']);
  await check([chunk('a'), chunk('a') + chunk('b') + DONE], ['a', 'again', 'a', 'b']);
  await check([429, 503, chunk('a') + DONE], ['again', 'again', 'a']);
  // A proxy that finds nobody.
  await check([502, 504, chunk('a') + DONE], ['again', 'again', 'a']);
  await check([400], ['<h1>Bad gateway</h1>']);
});

test('an answer that never ends is not asked for for ever', async () => {
  const { seen, asked } = await chatted([chunk('a')]);
  assert.equal(asked, 9);
  assert.equal(seen.at(-1), 'The answer ended before it was whole.');
});

test('who waits for the server can be stopped', async () => {
  const abort = new AbortController();
  let knocks = 0;
  const { seen } = await chatted([502], abort.signal, () => {
    if (knocks++ > 0) return null;
    abort.abort(new Error('stopped'));
    return new Response('', { status: 502 });
  });
  assert.deepEqual(seen, ['stopped']);
});

test('what nobody answered is asked for again, what was refused is told', async () => {
  const { readJson } = await load('/src/api/client.ts');
  const check = async (answers, expected, expectedAsked) => {
    const [plainFetch, plainTimeout] = [globalThis.fetch, globalThis.setTimeout];
    let asked = 0;
    globalThis.setTimeout = (call) => plainTimeout(call, 0);
    globalThis.fetch = async (path) => {
      if (path === '/version') return new Response('{}');
      const answer = answers[Math.min(asked++, answers.length - 1)];
      if (answer instanceof Error) throw answer;
      return typeof answer === 'string' ? new Response(answer) : new Response('refused', answer);
    };
    try {
      assert.deepEqual(await readJson('/v1/models').catch((error) => error.message), expected);
    } finally {
      await (await load('/src/api/connection.ts')).waitForServer();
      Object.assign(globalThis, { fetch: plainFetch, setTimeout: plainTimeout });
    }
    assert.equal(asked, expectedAsked);
  };
  const away = new TypeError('Failed to fetch');
  await check(['[1]'], [1], 1);
  await check([away, away, { status: 502 }, { status: 503 }, '[1]'], [1], 5);
  await check([away, { status: 404 }], 'refused', 2);
  await check([{ status: 429 }, '[1]'], [1], 2);
  await check([{ status: 429 }], 'refused', 9);
  await check([{ status: 429, headers: { 'retry-after': '3600' } }], 'refused', 1);
});

test('a key that no header takes is told from others', async () => {
  globalThis.sessionStorage ??= { getItem: () => null };
  const { isSendable } = await load('/src/access.ts');
  const check = (key, expected) => assert.equal(isSendable(key), expected, key);
  check('sk-Az_09.~', true);
  check(' sk-a\n', true);
  check('', true);
  check('sk-ключ', false);
  check('sk a', false);
  check('sk-é', false);
});

test('an answer is seen as it comes, and stays while it comes again', async () => {
  let frame = null;
  globalThis.requestAnimationFrame = (call) => ((frame = call), 1);
  globalThis.cancelAnimationFrame = () => (frame = null);
  const { Sample, Turn } = await load('/src/views/playground/conversation.svelte.ts');
  const sample = new Sample();
  const take = (content, finish_reason = null) =>
    sample.take({ index: 0, delta: { content }, finish_reason, logprobs: { content: [{ token: content, logprob: 0 }] } });
  const check = (content, tokens) => assert.deepEqual([sample.shown.content, sample.shown.tokens.length], [content, tokens]);
  take('a');
  take('b');
  check('', 0);
  frame();
  check('ab', 2);
  take('c');
  sample.again();
  check('abc', 3);
  take('a');
  frame();
  check('abc', 3);
  take('b', 'stop');
  check('ab', 2);
  for (const [n, cards] of [[3, 3], [0, 1], [NaN, 1], [2.5, 2], [1e9, 128]]) assert.equal(new Turn('', '', '', 0, n).samples.length, cards);
});

/** Answers pages of a list of so many, and counts them. */
function listOf(rows) {
  const asked = { pages: 0 };
  asked.fetch = async (path) => {
    asked.pages++;
    const query = new URLSearchParams(path.split('?')[1]);
    const from = query.has('after') ? rows.findIndex(({ id }) => id === query.get('after')) + 1 : 0;
    const data = rows.slice(from, from + Number(query.get('limit')));
    return Response.json({ data, has_more: from + data.length < rows.length, last_id: data.at(-1)?.id ?? null });
  };
  return asked;
}

test('lists are read to their end, and say where they are cut', async () => {
  globalThis.sessionStorage ??= { getItem: () => null };
  const { listed } = await load('/src/api/list.ts');
  const plainFetch = globalThis.fetch;
  const check = async (count, expected) => {
    const asked = listOf(Array.from({ length: count }, (_, at) => ({ id: `r${at}` })));
    globalThis.fetch = asked.fetch;
    try {
      const { rows, isCut } = await listed('/list', { limit: '100' });
      assert.deepEqual([rows.length, new Set(rows.map(({ id }) => id)).size, isCut, asked.pages], [expected.rows, expected.rows, expected.isCut, expected.pages], count);
    } finally {
      globalThis.fetch = plainFetch;
    }
  };
  await check(0, { rows: 0, isCut: false, pages: 1 });
  await check(250, { rows: 250, isCut: false, pages: 3 });
  await check(2000, { rows: 2000, isCut: false, pages: 20 });
  await check(2001, { rows: 2000, isCut: true, pages: 20 });
});

test('of merges that are known only what may have changed is read again', async () => {
  const { allMerges } = await load('/src/views/merges/list.ts');
  const plainFetch = globalThis.fetch;
  const merges = (statuses) => statuses.map((status, at) => ({ id: `m${statuses.length - at}`, status }));
  const look = async (rows, known) => {
    const asked = listOf(rows);
    globalThis.fetch = asked.fetch;
    try {
      return { ...(await allMerges(known)), pages: asked.pages };
    } finally {
      globalThis.fetch = plainFetch;
    }
  };
  const over = (count) => Array(count).fill('completed');
  const first = await look(merges(over(350)), { rows: [], isCut: false });
  assert.deepEqual([first.rows.length, first.isCut, first.pages], [350, false, 4]);
  const again = await look(merges(['queued', ...over(350)]), first);
  assert.deepEqual([again.rows.length, again.rows[0].id, again.rows.at(-1).id, again.pages], [351, 'm351', 'm1', 1]);
  // Down to the last that is not over; all of it where nothing that was known came.
  const deep = await look(merges(over(350)), { rows: merges([...over(240), 'in_progress', ...over(109)]), isCut: false });
  assert.deepEqual([deep.rows.length, deep.rows.every(({ status }) => status === 'completed'), deep.pages], [350, true, 3]);
  const other = await look(merges(over(120)).map(({ id, status }) => ({ id: `other-${id}`, status })), first);
  assert.deepEqual([other.rows.length, other.pages], [120, 2]);
});
