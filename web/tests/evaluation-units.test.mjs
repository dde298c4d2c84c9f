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
  thinking_tokens: [12, 0, null, 5],
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

test('columns that are read later tell what events did not, and rows stay where they are', async () => {
  const { SampleTable } = await load('/src/views/evaluations/table.ts');
  const { detectedLanguages } = await load('/src/views/evaluations/tax.ts');
  const samples = new SampleTable({ ...structuredClone(columns), problem: [], sample: [], outcome: '', following: '', trace_score: [], answer_score: [], trace_language: [], answer_language: [], trace_switches: [], wrong_script_characters: [], completion_tokens: [], thinking_tokens: [] });
  const event = (id, outcome, following) => ({ id, problem: 'p1', language: 'en', sample: 0, outcome, following, completion_tokens: 5 });
  samples.add(event('outputitem_1_0', 'correct', false));
  samples.add(event('outputitem_0_0', 'wrong', true));
  assert.deepEqual([samples.isBehind, detectedLanguages(samples)], [true, []]);
  // Places are those of the columns that were read, not of those before.
  const { outcomes, problem_languages, ...read } = structuredClone(columns);
  samples.learn({ ...read, outcomes, languages: ['Han', 'ja', 'en'], problem_languages: [2, 1, 2], trace_language: [2, null, 2, null], answer_language: [2, 1, 0, null], sequence: 12 });
  assert.deepEqual([samples.length, samples.isBehind, samples.sequence], [4, false, 12]);
  assert.deepEqual([0, 1, 2, 3].map((row) => [samples.position(row), samples.sample(row), samples.outcome(row)]), [[1, 0, 'correct'], [0, 0, 'wrong'], [0, 1, 'correct'], [2, 0, 'error']]);
  const { traceScore, answerScore, traceLanguage, answerLanguage, switches, wrongScript } = samples.row(0);
  assert.deepEqual({ traceScore, answerScore, traceLanguage, answerLanguage, switches, wrongScript }, { traceScore: 0.2, answerScore: null, traceLanguage: 'en', answerLanguage: 'Han', switches: 4, wrongScript: 7 });
  assert.deepEqual([0, 1, 2, 3].map((row) => samples.detected(row)), ['en', 'ja', 'en', null]);
  assert.equal(samples.add(event('outputitem_0_1', 'correct', true)), false);
  assert.equal(samples.add(event('outputitem_0_9', 'correct', true)), true);
  assert.equal(samples.isBehind, true);
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

const scored = (value, low, high) => ({ value, low, high });
const summary = (model, suite, sha, scores, { n = 4, problems = 9, profile = null } = {}) => ({
  id: `${model} ${suite} ${sha}`, model, suite, profile, created_at: 0, n,
  scores: scores && {
    suite_sha256: sha,
    overall: { language: null, problems, metrics: { 'pass@1': scored(0.5, 0.4, 0.6) } },
    languages: Object.entries(scores).map(([language, value]) => ({ language, problems, metrics: { 'pass@1': scored(value, null, null) } })),
  },
});

test('a matrix has the newest complete run of each model on each suite, of those that are as full', async () => {
  const { matrixOf } = await load('/src/views/evaluations/matrix.ts');
  const runs = [
    summary('b', 's', 'new', { en: 0.9, ja: 0.1 }),
    summary('b', 's', 'new', { en: 0.2 }),
    summary('a', 's', 'old', { en: 0.3 }),
    summary('a', 't', 'x', { en: 0.4 }),
    summary('a', 't', 'x', null),
  ];
  const { columns, rows } = matrixOf(runs, 'pass@1', ['s', 't']);
  assert.deepEqual(columns, [{ suite: 's', language: null }, { suite: 's', language: 'en' }, { suite: 's', language: 'ja' }, { suite: 't', language: 'en' }]);
  assert.deepEqual(rows.map(({ name, cells }) => [name, cells.map((cell) => cell && cell.value)]), [['a', [0.5, 0.3, null, 0.4]], ['b', [0.5, 0.9, 0.1, null]]]);
  assert.deepEqual(rows[0].cells.map((cell) => cell?.isOtherSuite), [true, true, undefined, false]);
  assert.deepEqual(matrixOf(runs, 'maj@4', ['s']).rows[0].cells, [null, null, null]);
});

test('a matrix prefers runs of more problems, then samples, and keeps profiles apart', async () => {
  const { matrixOf } = await load('/src/views/evaluations/matrix.ts');
  const check = (runs, expected) => {
    const { rows } = matrixOf(runs, 'pass@1', ['s']);
    assert.deepEqual(rows.map(({ name, profile, cells }) => [name, profile, cells.at(-1).value, cells.at(-1).problems, cells.at(-1).run.n, cells.at(-1).isOtherSuite]), expected);
  };
  const trial = summary('a', 's', 'new', { en: 1 }, { n: 1, problems: 1 });
  check([trial, summary('a', 's', 'x', { en: 0.3 }), summary('a', 's', 'old', { en: 0.2 })], [['a', null, 0.3, 9, 4, false]]);
  check([summary('a', 's', 'x', { en: 0.1 }, { n: 2 }), summary('a', 's', 'x', { en: 0.3 }), trial], [['a', null, 0.3, 9, 4, false]]);
  check([summary('a', 's', 'new', { en: 0.8 }, { profile: 'strict' }), summary('a', 's', 'x', { en: 0.3 })], [['a', null, 0.3, 9, 4, true], ['a · strict', 'strict', 0.8, 9, 4, false]]);
});

test('a cell is held against the best of its profile that has an interval', async () => {
  const { referenceOf } = await load('/src/views/evaluations/matrix.ts');
  const row = (name, profile, ...score) => ({ name, profile, cells: [scored(...score)] });
  const rows = [row('a', null, 0.5, 0.4, 0.6), row('b', null, 0.7, 0.6, 0.8), row('trial', null, 1, null, null), row('a · strict', 'strict', 0.9, 0.8, 1), { name: 'none', profile: null, cells: [null] }];
  const check = (row, base, expected) => assert.equal(referenceOf(rows, 0, row, base)?.value ?? null, expected);
  check(rows[0], null, 0.7);
  check(rows[3], null, 0.9);
  check(rows[0], 'a · strict', 0.9);
  check(rows[0], 'trial', null);
  check(rows[0], 'none', null);
});

test('a difference is clear where its interval leaves zero out', async () => {
  const { difference, isDistinguishable } = await load('/src/views/evaluations/matrix.ts');
  // Newcombe (1998), example (a): 56/70 and 48/80 with Wilson's intervals.
  const { value, low, high } = difference(scored(0.8, 0.6918, 0.8769), scored(0.6, 0.4904, 0.7003));
  assert.ok(Math.abs(value - 0.2) < 1e-9 && Math.abs(low - 0.0524) < 1e-3 && Math.abs(high - 0.3339) < 1e-3, `${low} ${high}`);
  const check = (a, b, expected) => assert.equal(isDistinguishable(difference(a, b)), expected);
  check(scored(0.8, 0.7, 0.9), scored(0.5, 0.4, 0.6), true);
  check(scored(0.5, 0.4, 0.6), scored(0.8, 0.7, 0.9), true);
  check(scored(0.6, 0.5, 0.7), scored(0.5, 0.4, 0.6), false);
  check(scored(1, null, null), scored(0, 0, 0.1), false);
});

test('names of metrics are those of the lists', async () => {
  const { countsOf, metricsOf } = await load('/src/views/evaluations/matrix.ts');
  const check = (n, counts) => assert.deepEqual(countsOf(n), counts);
  check(1, [1]);
  check(3, [1, 2, 3]);
  check(12, [1, 2, 4, 8, 10, 12]);
  assert.deepEqual(metricsOf([1]), ['pass@1', 'following', 'consistent_pass@1', 'pass_all@1', 'maj@1', 'trace_score', 'answer_score']);
  assert.ok(metricsOf([3, 5]).includes('maj@5') && metricsOf([3, 5]).includes('pass@3'));
});

test('who is dominated is counted by language', async () => {
  const { dominated } = await load('/src/views/evaluations/matrix.ts');
  const at = (language, x, y) => ({ language, x, y });
  const a = [at('en', 0.5, 0.5), at('ja', 0.5, 0.5), at('sw', 0.5, 0.5), at('th', 0.5, 0.5)];
  const b = [at('en', 0.5, 0.6), at('ja', 0.6, 0.4), at('sw', 0.5, 0.5), at('te', 1, 1)];
  assert.deepEqual(dominated(a, b), { count: 1, of: 3 });
});

test('what is detected, and what a language costs', async () => {
  const { SampleTable } = await load('/src/views/evaluations/table.ts');
  const { detectedLanguages, hasThinking, studentQuantile, tokenTax } = await load('/src/views/evaluations/tax.ts');
  const samples = await table();
  // Known when the columns are asked for again.
  samples.add({ id: 'outputitem_0_7', problem: 'p1', language: 'en', sample: 7, outcome: 'wrong', following: true, completion_tokens: 5 });
  assert.deepEqual(detectedLanguages(samples), [
    { language: 'en', samples: 3, detected: [{ language: 'en', count: 1 }, { language: 'ja', count: 1 }, { language: null, count: 1 }] },
    { language: 'ja', samples: 1, detected: [{ language: 'en', count: 1 }] },
  ]);
  const taxed = new SampleTable({
    ...structuredClone(columns), problem_ids: ['p', 'p', 'q', 'q'], problem_languages: [0, 1, 0, 1], problem: [0, 0, 1, 2, 3], sample: [0, 1, 0, 0, 0],
    outcome: 'ccccc', following: 'yyyyy', completion_tokens: [8, 12, 20, 30, 240], thinking_tokens: [4, 4, 12, 10, 30],
  });
  const [en, ja] = tokenTax(taxed, 'en');
  assert.deepEqual(en, { language: 'en', problems: 2, tokens: 20, ratio: 1, low: 1, high: 1 });
  // Ratios 2 and 8: their geometric mean is 4.
  assert.ok(Math.abs(ja.ratio - 4) < 1e-9 && ja.problems === 2 && ja.tokens === 130);
  // Of thinking alone 3 and 3.
  assert.equal(tokenTax(taxed, 'en', 'thinking')[1].ratio.toFixed(9), '3.000000000');
  // One sample of the others does not tell; of a run without traces all are 0, or nearly all.
  assert.deepEqual([hasThinking(taxed), hasThinking(samples), ...[[0, 0, 0, null], [3, 0, 0, null], [3, 4, 0, null]].map((thinking_tokens) => hasThinking(new SampleTable({ ...structuredClone(columns), thinking_tokens })))], [true, false, false, false, true]);
  const half = 12.706 * Math.LN2;
  assert.ok(Math.abs(Math.log(ja.high) - Math.log(4) - half) < 1e-9);
  const check = (degrees, expected) => assert.ok(Math.abs(studentQuantile(degrees) - expected) < 0.001, `${degrees}: ${studentQuantile(degrees)}`);
  for (const [degrees, expected] of [[1, 12.706], [10, 2.228], [11, 2.201], [20, 2.086], [60, 2.0003], [1000, 1.9623]]) check(degrees, expected);
});

test('none of several is a choice too', async () => {
  const { choiceOf, withToggled } = await load('/src/views/evaluations/choice.ts');
  assert.deepEqual(choiceOf(undefined, ['all']), ['all']);
  assert.equal(withToggled(['all'], 'all'), 'none');
  assert.deepEqual(choiceOf('none', ['all']), []);
  assert.equal(withToggled([], 'ja'), 'ja');
  assert.equal(withToggled(['ja', 'en'], 'ja'), 'en');
});

test('an arrow ends before its mark', async () => {
  const { lineBefore } = await load('/src/views/evaluations/plot.ts');
  assert.deepEqual(lineBefore({ x: 0, y: 0 }, { x: 30, y: 40 }, 10), { x1: 0, y1: 0, x2: 24, y2: 32 });
  assert.equal(lineBefore({ x: 0, y: 0 }, { x: 3, y: 4 }, 7), null);
});

test('ticks are round', async () => {
  const { countTicks, ticksOf } = await load('/src/views/evaluations/plot.ts');
  assert.deepEqual(ticksOf([0, 1], 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticksOf([0.31, 0.52], 5), [0.35, 0.4, 0.45, 0.5]);
  assert.deepEqual(ticksOf([2, 2], 4), [2]);
  assert.deepEqual(countTicks(4, 16), [1, 2, 3, 4]);
  assert.deepEqual(countTicks(1, 16), [1]);
  assert.deepEqual(countTicks(64, 8), [1, 8, 16, 24, 32, 40, 48, 56, 64]);
});

test('texts differ word by word, and in scripts without spaces sign by sign', async () => {
  const { diffWords } = await load('/src/views/evaluations/diff.ts');
  const check = (a, b, expected) => {
    const pieces = diffWords(a, b);
    assert.deepEqual(pieces.map(({ kind, text }) => `${{ both: '=', a: '-', b: '+', 'rest-a': 'A', 'rest-b': 'B' }[kind]}${text}`), expected);
    const of = (kind) => pieces.filter((piece) => ['both', kind, `rest-${kind}`].includes(piece.kind)).map(({ text }) => text).join('');
    assert.deepEqual([of('a'), of('b')], [a, b]);
  };
  check('so it is 5', 'so it is 6', ['=so it is ', '-5', '+6']);
  check('答えは五です', '答えは六です', ['=答えは', '-五', '+六', '=です']);
  check('', 'a b', ['+a b']);
  check('a', '', ['-a']);
  check('', '', []);
  check('x '.repeat(2000), 'x '.repeat(1500), [`=${'x '.repeat(1500)}`, `-${'x '.repeat(500)}`]);
  // What both begin and end with is never taken for a difference; what is not compared is not marked.
  check(`${'x '.repeat(2000)}y ${'z '.repeat(2000)}`, `${'x '.repeat(2000)}w ${'z '.repeat(2000)}`, [`=${'x '.repeat(2000)}`, '-y ', '+w ', `=${'z '.repeat(2000)}`]);
  check(`a ${'p '.repeat(1600)}end`, `b ${'p '.repeat(10)}q end`, [`-a ${'p '.repeat(1489)}`, '+b ', `=${'p '.repeat(10)}`, '+q ', `A${'p '.repeat(101)}`, '=end']);
});

test('a completion is cut at its trace, and its answer found in bytes', async () => {
  const { cutAtTrace, spanIn } = await load('/src/views/evaluations/completion.ts');
  const check = (text, trace, answer, isOpen = false) => {
    const cut = cutAtTrace(text);
    assert.deepEqual([cut.trace, cut.answer, cut.isOpen], [trace, answer, isOpen], text);
  };
  check('<think>\na b\n</think>\nc', 'a b', 'c');
  check('a</think>b', 'a', 'b');
  check('<think>a</think>b</think>c', 'a</think>b', 'c');
  check('<think>\nnever', 'never', '', true);
  check('plain', '', 'plain');
  check('', '', '');
  // As src/score/extract/parts.rs has it.
  check('<think>a</think>b<think>c', '<think>a</think>b<think>c', '', true);
  check('</think>', '', '');
  check('<thinking>mm</thinking> yes', 'mm', 'yes');
  check('<THINK>mm</THINK> yes', 'mm', 'yes');
  check('<reasoning>mm</reasoning><answer>yes</answer>', 'mm', '<answer>yes</answer>');
  check('[THINK]mm[/THINK]yes', 'mm', 'yes');
  check('◁think▷mm◁/think▷yes', 'mm', 'yes');
  check('<|begin_of_thought|>mm<|end_of_thought|>yes', 'mm', 'yes');
  check('<|channel|>analysis<|message|>mm<|channel|>final<|message|>yes', 'mm', 'yes');
  check('[THINK]mm', 'mm', '', true);
  check('A tag like <reasoning> is no trace', '', 'A tag like <reasoning> is no trace');
  check('analysisWe add.assistantfinal5', 'We add.', '5');
  check('analysisWe add', 'We add', '', true);
  check('analysis of the text', '', 'analysis of the text');
  const text = '答えは \\boxed{٤٢} です';
  const start = new TextEncoder().encode('答えは \\boxed{').length;
  assert.deepEqual(spanIn(text, [start, start + 4]), { before: '答えは \\boxed{', found: '٤٢', after: '} です' });
  assert.equal(spanIn(`${'a'.repeat(200)}X`, [200, 201]).before, `…${'a'.repeat(90)}`);
});

test('samples are a problem’s by their own word, in whichever order and pages they come', async () => {
  // What the session reads of a browser, before anything of the page is.
  globalThis.sessionStorage ??= { getItem: () => null };
  const { samplesAt } = await load('/src/views/evaluations/items.ts');
  const item = (position, sample, problem, language) => ({ id: `outputitem_${position}_${sample}`, xenoglot: { problem, language, sample } });
  const plainFetch = globalThis.fetch;
  const ask = async (pages, asked) => {
    let at = 0;
    globalThis.fetch = async () => Response.json({ data: pages[at], has_more: ++at < pages.length, last_id: pages[at - 1].at(-1)?.id });
    try {
      const found = await samplesAt('/run', asked, new AbortController().signal);
      return { ids: found.map(({ id }) => id), pages: at };
    } finally {
      globalThis.fetch = plainFetch;
    }
  };
  const asked = { problem: 's02', language: 'ja', position: 3, count: 3 };
  // As the server has them: together, behind those of the position before.
  const together = [[item(3, 0, 's02', 'ja'), item(3, 1, 's02', 'ja')], [item(3, 2, 's02', 'ja')], [item(4, 0, 's03', 'en')]];
  assert.deepEqual(await ask(together, asked), { ids: ['outputitem_3_0', 'outputitem_3_1', 'outputitem_3_2'], pages: 2 });
  // The newest first, and between those of others.
  const mixed = [[item(3, 2, 's02', 'ja'), item(4, 0, 's03', 'en')], [item(2, 0, 's02', 'en'), item(3, 0, 's02', 'ja')], [item(0, 0, 's01', 'en')], [item(3, 1, 's02', 'ja')]];
  assert.deepEqual(await ask(mixed, asked), { ids: ['outputitem_3_0', 'outputitem_3_2'], pages: 3 });
  // The position is another problem's: of that nothing is shown.
  assert.deepEqual(await ask([[item(3, 0, 's09', 'ja'), item(3, 1, 's09', 'ja')]], asked), { ids: [], pages: 1 });
});

test('what a run will draw is told before', async () => {
  const { toDraw } = await load('/src/views/evaluations/suites.ts');
  const languages = [{ language: 'en', problems: 13 }, { language: 'ja', problems: 4 }, { language: 'es', problems: null }];
  const known = languages.slice(0, 2);
  assert.deepEqual(toDraw(known, [], 10, 4), { languages: 2, problems: 14, samples: 56 });
  assert.deepEqual(toDraw(known, ['en'], undefined, 1), { languages: 1, problems: 13, samples: 13 });
  assert.deepEqual(toDraw(languages, ['ja'], 10, 2), { languages: 1, problems: 4, samples: 8 });
  assert.equal(toDraw(languages, [], 10, 2), null);
  assert.equal(toDraw([], [], 10, 2), null);
});
