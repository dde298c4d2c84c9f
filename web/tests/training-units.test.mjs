// The parts of the training and merges views that decide without a browser.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { createServer as createVite } from 'vite';

let vite;
const load = (path) => vite.ssrLoadModule(path);
before(async () => {
  vite = await createVite({ root: new URL('..', import.meta.url).pathname, server: { middlewareMode: true, ws: false }, appType: 'custom', logLevel: 'error', optimizeDeps: { noDiscovery: true } });
});
after(() => vite.close());

test('metrics are columns by step, whatever order they come in', async () => {
  const { MetricTable } = await load('/src/views/training/metrics.ts');
  const table = new MetricTable();
  table.takeColumns({ step: [1, 3], series: { loss: [4, 2], eval_loss: [null, 5] } });
  table.take({ step: 4, loss: 1, note: 'text' });
  table.take({ step: 2, loss: 3 });
  // Made again after a checkpoint.
  table.take({ step: 3, loss: 2.5 });
  assert.deepEqual(table.columns(['loss', 'eval_loss']), { steps: [1, 2, 3, 4], values: [[4, 3, 2.5, 1], [null, null, 5, null]] });
  assert.deepEqual(table.columns(['eval_loss']), { steps: [3], values: [[5]] });
  assert.deepEqual(table.columns(['none']), { steps: [], values: [[]] });
  assert.equal(table.lastStep, 4);
});

test('each metric has its panel, and none is lost', async () => {
  const { panelGroups } = await load('/src/views/training/metrics.ts');
  const names = ['epoch', 'reward', 'reward_std', 'rewards/acc/mean', 'rewards/acc/std', 'rewards/lang/mean', 'rewards/lang/std', 'loss', 'eval_loss', 'eval_sw_loss', 'entropy', 'kl', 'clip_ratio/low_mean', 'clip_ratio/low_min', 'clip_ratio/region_mean', 'completions/mean_length', 'completions/min_length', 'completions/max_length', 'learning_rate', 'odd'];
  const shown = panelGroups(names, ['lang']).map(({ name, panels }) => [name, panels.map(({ title, part }) => [title, part].filter(Boolean).join(':'))]);
  assert.deepEqual(shown, [
    ['reward', ['reward', 'part:acc', 'following:lang']],
    ['loss', ['loss', 'lossByLanguage']],
    ['policy', ['entropy', 'kl', 'clipped']],
    ['lengths', ['length']],
    ['optimiser', ['learningRate']],
    ['more', ['odd']],
  ]);
  assert.deepEqual(panelGroups([]), []);
});

test('a smoothed line begins at its first value and passes over gaps', async () => {
  const { smoothed } = await load('/src/ui/series.ts');
  const check = (values, weight, expected) => assert.deepEqual(smoothed(values, weight).map((value) => value && Math.round(value * 1e6) / 1e6), expected);
  check([4, 4, 4], 0.9, [4, 4, 4]);
  // (0.5 · 0.5 · 2 + 0.5 · 4) / 0.75, by hand.
  check([2, 4], 0.5, [2, 3.333333]);
  check([2, null, 4], 0.5, [2, null, 3.333333]);
  check([1, 2], 0, [1, 2]);
  check([], 0.5, []);
});

test('a thinned curve has its ends and its peaks', async () => {
  const { thinned } = await load('/src/ui/series.ts');
  const values = Array.from({ length: 10_000 }, (_, at) => (at === 4321 ? 99 : at === 8765 ? -99 : Math.sin(at)));
  const kept = thinned(values.length, [values], 1000);
  assert.ok(kept.length <= 1002, String(kept.length));
  for (const at of [0, 4321, 8765, 9999]) assert.ok(kept.includes(at), String(at));
  assert.deepEqual(kept, [...new Set(kept)].sort((a, b) => a - b));
  assert.deepEqual(thinned(3, [[1, 2, 3]], 1000), [0, 1, 2]);
  assert.ok(thinned(5000, [Array(5000).fill(null)], 100).length > 10);
});

test('the form knows every field of the request', async () => {
  const { fieldOf, resolved, quoted, descriptionParts, withProperty, pathOf } = await load('/src/form/schema.ts');
  const described = JSON.parse(readFileSync(new URL('../src/api/schema.training.json', import.meta.url), 'utf8'));
  const at = (...path) => {
    let field = fieldOf(described.schemas.CreateFineTuningJob, described);
    for (const name of path) {
      const found = field.properties?.find((property) => property.name === name);
      if (found) field = fieldOf(found.schema, described, !found.isRequired);
      else field = fieldOf(field.variants?.[name] ?? field.items, described);
    }
    return field;
  };
  const check = (path, expected) => {
    const field = at(...path.split('/'));
    assert.deepEqual(Object.fromEntries(Object.keys(expected).map((key) => [key, field[key]])), expected, path);
  };
  check('model', { kind: 'text', isOptional: false });
  check('seed', { kind: 'number', isWhole: true, minimum: 0, isOptional: true });
  check('method', { kind: 'tagged', tags: ['supervised', 'cpt', 'mapping', 'augmentation', 'reinforcement'] });
  check('method/supervised', { kind: 'object', isOptional: true });
  check('method/supervised/lora', { kind: 'object', isOptional: true, description: 'Train an adapter in place of the weights.' });
  check('method/supervised/lora/target_modules', { kind: 'words' });
  check('method/supervised/hyperparameters/learning_rate', { kind: 'number', isWhole: false, isOptional: true });
  check('method/supervised/hyperparameters/packing', { kind: 'flag' });
  check('method/supervised/hyperparameters/lr_scheduler_type', { kind: 'text', suggestions: ['linear', 'cosine', 'constant'] });
  check('method/cpt/corpora', { kind: 'rows' });
  check('method/reinforcement/grader', { kind: 'variants', isOptional: true });
  check('method/reinforcement/grader/multi/graders', { kind: 'map' });
  check('method/reinforcement/grader/multi/graders/items/length/max', { kind: 'number', isOptional: false });
  check('method/reinforcement/grader/think_format/require', { kind: 'choices', choices: ['opened_trace', 'closed_trace', 'one_trace', 'trace_text', 'box', 'one_box'] });
  check('method/reinforcement/grader/language_consistency/mode', { kind: 'choice', choices: ['continuous', 'probability', 'strict'] });
  check('metadata', { kind: 'json' });

  assert.equal(resolved({ $ref: '#/components/schemas/A' }, { root: 'A', schemas: { A: { $ref: '#/components/schemas/A' } } }).type, undefined, 'a loop ends');
  assert.deepEqual(quoted('Of longer examples: `drop`, `truncate` or `split`; drop.'), ['drop', 'truncate', 'split']);
  assert.deepEqual(quoted('Times `x`.'), []);
  assert.deepEqual(descriptionParts('a `b`\nc'), [{ text: 'a ', isCode: false }, { text: 'b', isCode: true }, { text: ' c', isCode: false }]);
  assert.deepEqual(Object.entries(withProperty({ a: 1, b: 2 }, 'a', 3)), [['a', 3], ['b', 2]]);
  assert.deepEqual(withProperty({ a: 1 }, 'a', undefined), {});
  assert.equal(pathOf('method.cpt.corpora[0].files'), 'method.cpt.corpora.0.files');
});

test('a stream is taken up again behind the last event seen', async () => {
  const { follow } = await load('/src/api/follow.ts');
  const [plainFetch, plainTimeout] = [globalThis.fetch, globalThis.setTimeout];
  const asked = [];
  const answers = ['id: e-1\ndata: a\n\nid: e-2\ndata: b\n\n', 'id: e-3\ndata: c\n\ndata: [DONE]\n\n', 'data: [DONE]\n\n'];
  globalThis.setTimeout = (call) => plainTimeout(call, 0);
  globalThis.fetch = async (_, { headers }) => {
    asked.push(headers.get('last-event-id'));
    return new Response(answers.shift());
  };
  const seen = [];
  try {
    // The first end is a server's that stops.
    const hasEnded = async () => answers.length === 0;
    for await (const { data } of follow('/events', { signal: new AbortController().signal, hasEnded })) seen.push(data);
  } finally {
    Object.assign(globalThis, { fetch: plainFetch, setTimeout: plainTimeout });
  }
  assert.deepEqual(seen, ['a', 'b', 'c']);
  assert.deepEqual(asked, [null, 'e-2', 'e-3']);
});

test('of a long list the rows that are seen are drawn', async () => {
  const { rowsSeen } = await load('/src/ui/virtual.ts');
  const check = (seen, expected) => assert.deepEqual(rowsSeen({ row: 10, ...seen }), expected);
  check({ top: 0, height: 100, count: 1000 }, { from: 0, to: 18 });
  check({ top: 500, height: 100, count: 1000 }, { from: 42, to: 68 });
  check({ top: 9900, height: 100, count: 1000 }, { from: 982, to: 1000 });
  // The list has become shorter than what was scrolled.
  check({ top: 9900, height: 100, count: 5 }, { from: 5, to: 5 });
  check({ top: 0, height: 100, count: 0 }, { from: 0, to: 0 });
});

test('completions are chosen by reward and text, and put in order', async () => {
  const { wantedRollouts } = await load('/src/views/training/rollouts.ts');
  const rows = [[0.2, 3, 'a b'], [1, 1, 'b'], [0, 2, 'c'], [1, 4, 'a']].map(([reward, advantage, completion]) => ({ reward, advantage, completion, prompt: 'p', tokens: 1 }));
  const check = (wanted, expected) => {
    const found = wantedRollouts(rows, { least: '', most: '', order: '', text: '', ...wanted });
    assert.deepEqual(found.map(({ completion }) => completion), expected);
  };
  check({}, ['a b', 'b', 'c', 'a']);
  check({ least: '0.2' }, ['a b', 'b', 'a']);
  check({ least: '0', most: '0' }, ['c']);
  check({ text: 'a', order: 'advantage' }, ['a', 'a b']);
  check({ order: 'reward' }, ['b', 'a', 'a b', 'c']);
});

test('the form of a merge is written as YAML and read back', async () => {
  const { emptyForm, readForm, writeForm } = await load('/src/views/merges/form.ts');
  const form = {
    ...emptyForm(), method: 'ties', base: 'org/base@main', tokenizer: 'union',
    models: [{ model: 'a+adapter', parameters: { weight: 0.5, density: [0, 0.5, 1] } }, { model: 'with: colon', parameters: {} }, { model: 'true', parameters: { weight: 1e-7 } }],
    parameters: { normalize: true, rescale: 'l1' },
  };
  const text = writeForm(form);
  assert.equal(text, `merge_method: ties
base_model: org/base@main
models:
  - model: a+adapter
    parameters:
      weight: 0.5
      density: [0, 0.5, 1]
  - model: "with: colon"
  - model: "true"
    parameters:
      weight: 1e-7
parameters:
  normalize: true
  rescale: l1
dtype: bfloat16
tokenizer_source: union
`);
  assert.deepEqual(readForm(text), form);
  const slices = { ...emptyForm(), method: 'passthrough', models: [], slices: [[{ model: 'a', range: [0, 8], parameters: {} }], [{ model: 'b', range: [4, 12], parameters: { scale: 0.9 } }]] };
  assert.deepEqual(readForm(writeForm(slices)), slices);
});

test('configurations by hand are shown as far as the form knows them', async () => {
  const { readForm } = await load('/src/views/merges/form.ts');
  const { Unread, readYaml } = await load('/src/views/merges/yaml.ts');
  const shown = (text) => {
    const { method, models, parameters, slices } = readForm(text);
    return [method, models.map(({ model, parameters }) => [model, parameters]), parameters, slices];
  };
  const check = (text, expected) => assert.deepEqual(shown(text), expected, text);
  check('merge_method: slerp\nmodels: [{model: a}, {model: "b", parameters: {weight: [0, 1]}}]\nparameters: {t: 0.5}', ['slerp', [['a', {}], ['b', { weight: [0, 1] }]], { t: 0.5 }, null]);
  check('models:\n- model: a\n-\n  model: b\n  parameters: {}\nmerge_method: linear', ['linear', [['a', {}], ['b', {}]], {}, null]);
  check("merge_method: 'linear'\nmodels:\n    -   model: 'it''s'\n        parameters:\n            weight: .5\n", ['linear', [["it's", { weight: 0.5 }]], {}, null]);
  check('merge_method: passthrough\nslices:\n  - sources:\n      - {model: a, layer_range: [0, 2]}\n', ['passthrough', [], {}, [[{ model: 'a', range: [0, 2], parameters: {} }]]]);
  check('{"merge_method": "linear", "models": [{"model": "a"}]}', ['linear', [['a', {}]], {}, null]);
  const refuse = (text) => assert.throws(() => readForm(text), Unread, text);
  refuse('# a comment\nmerge_method: linear\nmodels: []');
  refuse('merge_method: linear # why\nmodels: []');
  refuse('merge_method: linear\nmodels:\n  - model: a\n    parameters:\n      weight:\n        - filter: mlp\n          value: 1\n');
  refuse('merge_method: linear\nmodules: {}');
  refuse('merge_method: linear\nmerge_method: ties');
  refuse('models: &a [x]');
  refuse('a: |\n  text');
  refuse('merge_method: linear\n  models: []');
  refuse('\tmerge_method: linear');
  refuse('merge_method: [linear');
  refuse('models: [a, {b: c]');
  refuse('just text');
  refuse('');
  assert.deepEqual(readYaml('a:\n  - [1, "x, y"]\n  - null\nb: -2.5e3\nc:'), { a: [[1, 'x, y'], null], b: -2500, c: null });
});

test('a field of a parameter takes numbers, lists and words', async () => {
  const { settingOf, settingText } = await load('/src/views/merges/form.ts');
  const check = (text, expected) => assert.deepEqual(settingOf(text), expected, text);
  check('0.5', 0.5);
  check(' [0, 0.5,1] ', [0, 0.5, 1]);
  check('true', true);
  check('l1', 'l1');
  check('', undefined);
  check('0.5,', '0.5,');
  assert.equal(settingText([0, 1]), '0, 1');
  assert.equal(settingText(undefined), '');
});

test('the cells of a plan say who gives how much', async () => {
  const { cells } = await load('/src/views/merges/plan.ts');
  const part = (others) => ({ tensors: ['w'], tensor_count: 1, parameters: 10, operation: 'weighted', of_differences: false, numbers: {}, rescale: null, base: null, ...others });
  const source = (model, weight, layer = 0, keep = null) => ({ model, weight, layer, keep });
  const row = (...parts) => cells({ models: ['a', 'b', 'c'], layers: [{ place: 'layer', layer: 0, parts }] })[0];
  const [a, b, c] = row(part({ sources: [source(0, 1), source(1, 3)] }));
  assert.deepEqual([a.share, b.share, c], [0.25, 0.75, null]);
  const slerp = row(part({ operation: 'slerp', numbers: { t: 0.25 }, base: source(0, null), sources: [source(0, null), source(1, null)] }));
  assert.deepEqual(slerp.map((cell) => cell?.share), [0.75, 0.25, undefined]);
  const ties = row(part({ operation: 'consensus', of_differences: true, base: source(0, null), sources: [source(1, 0.5, 0, { density: 0.3 }), source(2, 0.5, 0, { density: 0.6 })] }));
  assert.deepEqual(ties.map((cell) => [cell.isBase, cell.share, cell.density]), [[true, 0, null], [false, 0.5, [0.3, 0.3]], [false, 0.5, [0.6, 0.6]]]);
  // Tensors of one layer that are made in two ways, and a layer from another place.
  const mixed = row(part({ parameters: 30, sources: [source(0, 1, 5)] }), part({ sources: [source(1, 2)] }));
  assert.deepEqual(mixed.map((cell) => cell && [cell.share, cell.from]), [[0.75, [5]], [0.25, []], null]);
  assert.deepEqual(row(part({ operation: 'karcher', sources: [source(0, null), source(1, null)] })).map((cell) => cell?.share), [0.5, 0.5, undefined]);
});

test('a selection of MAET is read with distrust, and laid out by layer and module', async () => {
  const { gridOf, readSelection, shade } = await load('/src/views/merges/maet.ts');
  const tensor = (name, others) => ({ name, elements: 4, similarity: 0.5, ability_norm: 1, language_norm: 1, rank: 1, chosen: true, ...others });
  const selection = { similarity: 'cosine', models: [['a', 0.8, 0]], tensors: [tensor('model.embed_tokens.weight'), tensor('model.layers.10.mlp.up_proj.weight'), tensor('model.layers.2.mlp.up_proj.weight'), tensor('model.layers.2.self_attn.q_proj.weight', { rank: null })] };
  const grid = gridOf(readSelection(JSON.stringify(selection)));
  assert.deepEqual(grid.columns, ['mlp.up_proj.weight', 'self_attn.q_proj.weight']);
  assert.deepEqual(grid.rows.map(({ name, cells }) => [name, cells.map((cell) => cell !== null)]), [['2', [true, true]], ['10', [true, false]]]);
  assert.deepEqual(grid.others.map(({ name }) => name), ['model.embed_tokens.weight']);
  const refuse = (value, told) => assert.throws(() => readSelection(typeof value === 'string' ? value : JSON.stringify(value)), told);
  refuse('no json', SyntaxError);
  refuse([], /similarity, models, tensors/);
  refuse({ ...selection, models: [['a', 1]] }, /models/);
  refuse({ ...selection, tensors: [tensor('a'), tensor('b', { similarity: null })] }, /tensors\.1/);
  assert.deepEqual([shade(-3, 2), shade(1, 2), shade(null, 2), shade(1, 0)], [-1, 0.5, 0, 0]);
});

test('what goes into a merge is known by the name that it is served under', async () => {
  globalThis.sessionStorage ??= { getItem: () => null };
  const { servedAs } = await load('/src/views/merges/pair.ts');
  const models = [{ id: 'base', root: '/models/Base-1B' }, { id: 'Other', root: '/models/team/Other' }, { id: 'lora', root: '/models/Base-1B/lora', parent: 'base' }];
  const check = (path, expected) => assert.equal(servedAs(path, models), expected, path);
  check('base', 'base');
  check('Base-1B', 'base');
  check('./Base-1B/', 'base');
  check('team/Other', 'Other');
  check('/models/team/Other', 'Other');
  check('lora', 'lora');
  check('Base', null);
  check('1B', null);
  check('', null);
});
