// What evaluations decide without a browser: pace and time left, columns of samples, filters and their address.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createServer as createVite } from 'vite';

let vite;
const load = (path) => vite.ssrLoadModule(path);
before(async () => {
  vite = await createVite({ root: new URL('..', import.meta.url).pathname, server: { middlewareMode: true, ws: false }, appType: 'custom', logLevel: 'error', optimizeDeps: { noDiscovery: true } });
});
after(() => vite.close());

const columns = {
  sequence: 9,
  languages: ['en', 'ja', 'Han'],
  outcomes: { c: 'correct', w: 'wrong', x: 'error' },
  problem_ids: ['p1', 'p1', 'P2'],
  problem_languages: [0, 1, 0],
  problem: [0, 0, 1, 2],
  sample: [1, 0, 0, 0],
  outcome: 'cwcx',
  following: 'yyn-',
  trace_score: [1, 0.5, 0.2, null],
  answer_score: [1, 1, null, null],
  trace_language: [0, null, 0, null],
  answer_language: [0, 1, 2, null],
  trace_switches: [0, 2, 4, 0],
  wrong_script_characters: [0, 0, 7, 0],
  completion_tokens: [30, 10, null, 20],
};
const table = async () => new (await load('/src/views/evaluations/table.ts')).SampleTable(structuredClone(columns));

test('columns become rows', async () => {
  const samples = await table();
  assert.deepEqual(samples.row(2), {
    problem: { id: 'p1', language: 'ja' }, position: 1, sample: 0, outcome: 'correct', following: false, traceScore: 0.2, answerScore: null,
    traceLanguage: 'en', answerLanguage: 'Han', switches: 4, wrongScript: 7, tokens: null,
  });
  assert.deepEqual([0, 1, 2, 3].map((row) => samples.outcome(row)), ['correct', 'wrong', 'correct', 'error']);
  assert.deepEqual([0, 1, 2, 3].map((row) => samples.following(row)), [true, true, false, null]);
  assert.deepEqual([0, 1, 2, 3].map((row) => samples.detected(row)), ['en', 'ja', 'en', null]);
  assert.deepEqual(samples.parallel('p1'), [0, 1]);
});

test('events add what is new, once', async () => {
  const samples = await table();
  const event = (id, outcome) => ({ id, problem: 'p3', language: 'ja', sample: 0, outcome, following: null, completion_tokens: 5 });
  assert.equal(samples.add(event('outputitem_0_1', 'wrong')), false);
  assert.equal(samples.add(event('outputitem_7_3', 'wrong')), true);
  assert.equal(samples.add(event('outputitem_7_3', 'wrong')), false);
  assert.equal(samples.length, 5);
  const { problem, position, sample, outcome, following, tokens, traceLanguage } = samples.row(4);
  assert.deepEqual({ problem, position, sample, outcome, following, tokens, traceLanguage }, { problem: { id: 'p3', language: 'ja' }, position: 7, sample: 3, outcome: 'wrong', following: null, tokens: 5, traceLanguage: null });
  // Also into a table that was never read.
  const { SampleTable } = await load('/src/views/evaluations/table.ts');
  const fresh = new SampleTable();
  fresh.add(event('outputitem_1_0', 'no_box'));
  assert.deepEqual([fresh.length, fresh.outcome(0), fresh.language(0), fresh.sequence], [1, 'no_box', 'ja', 0]);
  assert.equal(new SampleTable().length, 0);
});

test('filters pass rows, in an order', async () => {
  const { filtersOf, rowsOf } = await load('/src/views/evaluations/filters.ts');
  const samples = await table();
  const check = (query, rows) => assert.deepEqual([...rowsOf(samples, filtersOf(query))], rows, JSON.stringify(query));
  check({}, [0, 1, 2, 3]);
  check({ outcome: 'correct' }, [0, 2]);
  check({ outcome: 'correct,error' }, [0, 2, 3]);
  // Right but off language.
  check({ outcome: 'correct', following: 'no' }, [2]);
  check({ following: 'yes' }, [0, 1]);
  check({ language: 'ja' }, [2]);
  check({ language: 'ja,en', problem: 'p2' }, [3]);
  check({ tokens_min: '20' }, [0, 3]);
  check({ tokens_max: '20' }, [1, 3]);
  check({ order: 'problem' }, [1, 0, 2, 3]);
  check({ order: 'tokens' }, [1, 3, 0, 2]);
  check({ order: '-tokens' }, [0, 3, 1, 2]);
});

test('filters stand in the address, and nothing else does', async () => {
  const { filtersOf, queryOf } = await load('/src/views/evaluations/filters.ts');
  const query = { outcome: 'correct,wrong', language: 'ja', following: 'no', tokens_min: '0', tokens_max: '90', problem: 'p', order: '-tokens' };
  assert.deepEqual(queryOf(filtersOf(query)), query);
  const none = queryOf(filtersOf({ outcome: 'nonsense', following: 'perhaps', tokens_min: '-1', tokens_max: 'x', order: 'age', other: '1' }));
  assert.ok(Object.values(none).every((value) => value === ''), JSON.stringify(none));
});

test('pace and time left are those of late', async () => {
  const { paceOf, secondsLeft, withMoment } = await load('/src/views/evaluations/pace.ts');
  assert.equal(paceOf([], 1), null);
  assert.equal(secondsLeft([{ at: 0, samples: 3, tokens: 9 }], 1000, 10), null);
  const moments = [{ at: 0, samples: 0, tokens: 0 }, { at: 10_000, samples: 5, tokens: 200 }];
  assert.deepEqual(paceOf(moments, 10_000), { tokensPerSecond: 20, samplesPerSecond: 0.5 });
  assert.equal(secondsLeft(moments, 10_000, 8), 6);
  // While nothing comes it takes longer than it seemed.
  assert.equal(secondsLeft(moments, 20_000, 8), 12);
  assert.equal(secondsLeft(moments, 10_000, 5), 0);
  let kept = [];
  for (let at = 0; at <= 600; at += 10) kept = withMoment(kept, { at: at * 1000, samples: at, tokens: at });
  assert.equal(kept.at(-1).samples, 600);
  assert.ok(kept[0].at <= 480_000 && kept[0].at >= 470_000, 'one moment before the window stays');
  assert.equal(paceOf(kept, 600_000).samplesPerSecond, 1);
});
