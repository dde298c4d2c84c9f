// Pictures of every view for the documentation, light and dark: `node scripts/screens.mjs [folder [name ..]]` after a build.
// They are looked at before they are committed.
import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { close, launch, open } from '../tests/browser.mjs';
import { MODEL, SECOND, Server } from '../tests/server.mjs';
import { writeSums } from '../tests/suite.mjs';

const folder = resolve(process.argv[2] ?? resolve(import.meta.dirname, '../../docs/screens'));
mkdirSync(folder, { recursive: true });

const answers = (...texts) => JSON.stringify({ structured_outputs: { choice: texts } });
const mixed = '12 − 5 = 7 なので、残りは7個です。 So seven apples are left, which we can check: $5 + 7 = 12$. 答えは \\boxed{7} です。';
const playground = (query) => `/#/playground?${new URLSearchParams(query)}`;
const merge = `merge_method: slerp
base_model: ${MODEL}
models:
  - model: ${MODEL}
  - model: ./${MODEL}
parameters:
  t: [0, 0.3, 0.75, 1]
dtype: bfloat16
`;
const shots = [
  { name: 'sign-in', path: '/', key: null },
  { name: 'error-key', path: '/', key: null, height: 520, refused: 'sk-of-yesterday' },
  // Before there is anything.
  { name: 'empty-evaluations', path: '/#/evaluations', height: 360 },
  { name: 'empty-training', path: '/#/training', height: 300 },
  { name: 'empty-merges', path: '/#/merges', height: 300 },
  { name: 'playground', path: playground({ language: 'ja', n: '2', colours: 'true', max_tokens: '140', temperature: '0.6', extra: answers(mixed) }), ask: 'りんごが12個あります。5個食べました。残りは何個ですか。' },
  { name: 'side-by-side', path: playground({ columns: '2', language: 'es', language2: 'sw', colours: 'true', logprobs: 'true', max_tokens: '40', temperature: '0', seed: '1' }), ask: 'What is 12 − 5?', tokens: true },
  { name: 'playground-ar', path: playground({ language: 'ar', colours: 'true', max_tokens: '120', extra: answers('لدينا ١٢ تفاحة وأكلنا ٥، إذن يبقى $12 - 5 = 7$ تفاحات. الجواب هو \\boxed{٧}') }), ask: 'عندي ١٢ تفاحة وأكلت ٥. كم بقي؟', language: 'ar' },
  { name: 'phone', path: playground({ language: 'th', colours: 'true', max_tokens: '200', extra: answers('มีแอปเปิล 12 ผล กินไป 5 ผล เหลือ $12 - 5 = 7$ ผล คำตอบคือ \\boxed{7}') }), ask: 'มีแอปเปิล 12 ผล กินไป 5 ผล เหลือกี่ผล', language: 'th', width: 390 },
  { name: 'server', path: '/#/server', wait: 11_000 },
  { name: 'evaluations', path: ofRuns('/#/evaluations') },
  { name: 'new-run', path: '/#/evaluations/new' },
  { name: 'evaluation', path: ofRuns('/#/evaluations/run/A'), full: true },
  { name: 'samples', path: ofRuns('/#/evaluations/run/A/samples') },
  { name: 'problem', path: ofRuns('/#/evaluations/run/A/problem/s01?language=ja'), full: true, wait: 1500 },
  { name: 'curves', path: ofRuns('/#/evaluations/run/A/curves?show=all,ja') },
  { name: 'token-tax', path: ofRuns('/#/evaluations/run/A/languages'), full: true },
  { name: 'compare', path: ofRuns('/#/evaluations/compare?a=A_ID&b=B_ID'), full: true },
  { name: 'evaluation-phone', path: ofRuns('/#/evaluations/run/A'), language: 'ar', width: 390 },
  { name: 'training', path: async () => `/#/training/${await training()}?smooth=0.6`, wait: 2500, height: 1000 },
  { name: 'training-form', path: async () => `/#/training/new?from=${await training()}`, wait: 1000 },
  { name: 'completions', path: async () => `/#/training/${await training()}/completions?order=reward&colours=true`, wait: 1500, first: '.box a' },
  { name: 'trainings', path: async () => (await trainings(), '/#/training'), height: 420 },
  { name: 'merge', path: '/#/merges/new', wait: 2500, yaml: merge, height: 1100 },
  { name: 'merges', path: async () => (await merges(), '/#/merges'), height: 360 },
  { name: 'before-after', path: async () => `/#/merges/${await merges()}`, wait: 1500, full: true },
  { name: 'matrix', path: async () => (await measuredOthers(), '/#/evaluations/matrix'), full: true },
  { name: 'error-run', path: async () => `/#/evaluations/run/${await failedRun()}`, wait: 1500, height: 700 },
  { name: 'error-away', path: ofRuns('/#/evaluations'), height: 480, isAway: true },
  // Last, for nothing answers any more.
  { name: 'empty-server', path: async () => (await unloadAll(), '/#/server'), wait: 4500, height: 620, full: true },
  { name: 'empty-playground', path: async () => (await unloadAll(), '/#/playground'), wait: 1500, height: 620 },
];
const prompts = [['What is 2 + 3?', '5', 'en'], ['¿Cuánto es 2 + 4?', '6', 'es'], ['2 + 5 は？', '7', 'ja'], ['2 + 6 เท่ากับเท่าไร', '8', 'th']];

const call = async (method, path, body) => {
  const response = await fetch(server.url + path, { method, headers: { authorization: 'Bearer sk-admin', ...(body && { 'content-type': 'application/json' }) }, body: body && JSON.stringify(body) });
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
  return answer;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Until its status is one of these. */
async function until(path, ...statuses) {
  for (;;) {
    const read = await call('GET', path);
    if (statuses.includes(read.status)) return read;
    if (['failed', 'canceled', 'cancelled'].includes(read.status)) throw new Error(`${path}: ${read.status}, ${JSON.stringify(read.error)}`);
    await sleep(300);
  }
}
/** What takes long is made where a picture asks for it. */
function once(make) {
  let made;
  return () => (made ??= make());
}

const graders = {
  acc: { type: 'math_answer', name: 'acc', reference: '{{ item.answer }}', language: '{{ item.language }}' },
  lang: { type: 'language_consistency', name: 'lang', target: '{{ item.language }}', mode: 'probability' },
};
async function upload(name, lines) {
  const body = new FormData();
  body.append('purpose', 'fine-tune');
  body.append('file', new Blob(lines.map((line) => `${JSON.stringify(line)}\n`)), name);
  return (await (await fetch(`${server.url}/v1/files`, { method: 'POST', headers: { authorization: 'Bearer sk-admin' }, body })).json()).id;
}
const jobPath = (id) => `/v1/fine_tuning/jobs/${id}`;

/** A reinforcement training of a few updates; its id when it has ended. */
const training = once(async () => {
  const file = await upload('prompts.jsonl', prompts.map(([content, answer, language]) => ({ messages: [{ role: 'user', content }], answer, language })));
  const reinforcement = {
    lora: { r: 8 }, num_generations: 6, max_completion_length: 32, hyperparameters: { max_steps: 12, batch_size: 4, learning_rate: 1e-3 },
    grader: { type: 'multi', name: 'reward', calculate_output: 'acc + 0.5*lang', graders },
  };
  const { id } = await call('POST', '/v1/fine_tuning/jobs', { model: MODEL, training_file: file, suffix: 'follow', method: { type: 'reinforcement', reinforcement } });
  return (await until(jobPath(id), 'succeeded')).id;
});

/** Supervised ones: one that ended well, one that was cancelled and one that was paused. */
const trainings = once(async () => {
  const supervise = (suffix, max_steps) => {
    const supervised = { lora: { r: 4 }, hyperparameters: { max_steps, batch_size: 1, packing: false } };
    return call('POST', '/v1/fine_tuning/jobs', { model: MODEL, training_file: examples, suffix, method: { type: 'supervised', supervised } });
  };
  const examples = await upload('examples.jsonl', prompts.map(([content, answer]) => ({ messages: [{ role: 'user', content }, { role: 'assistant', content: answer }] })));
  await until(jobPath((await supervise('sums', 8)).id), 'succeeded');
  for (const [suffix, action, status] of [['sums-long', 'cancel', 'cancelled'], ['sums-longer', 'pause', 'paused']]) {
    const { id } = await supervise(suffix, 400);
    while ((await call('GET', jobPath(id))).progress.steps_done < 4) await sleep(300);
    await call('POST', `${jobPath(id)}/${action}`);
    await until(jobPath(id), status);
  }
});

const [browser, server] = await Promise.all([launch(), Server.startWithModels('--api-key', 'sk-use', '--admin-key', 'sk-admin')]);
writeSums(server);

const evaluation = once(() => call('POST', '/v1/evals', { name: 'Sums', data_source_config: { type: 'xenoglot_suite', suite: 'sums' } }));
const runPath = ({ eval_id, id }) => `/v1/evals/${eval_id}/runs/${id}`;
async function run(name, source = {}, of = evaluation, more = {}) {
  const { temperature = 0.2, tokens = 40, ...rest } = source;
  const data_source = { type: 'xenoglot_suite', model: MODEL, limit: 12, n: 8, sampling_params: { temperature, seed: 1, max_completion_tokens: tokens }, ...rest };
  return call('POST', `/v1/evals/${(await of()).id}/runs`, { name, data_source, ...more });
}

/** Two runs of the same sums: as the model is, and as it is where it samples wildly. */
const measured = once(async () => {
  const runs = [await run('Calm'), await run('Wild', { temperature: 1.4 })];
  for (const one of runs) await until(runPath(one), 'completed');
  return runs;
});
function ofRuns(path) {
  return async () => {
    const [a, b] = await measured();
    return path.replace('run/A', `run/${a.eval_id}/${a.id}`).replace('A_ID', a.id).replace('B_ID', b.id);
  };
}

/** The second model, which samples less calmly, and the first as another profile judges it. */
const measuredOthers = once(async () => {
  const [calm] = await measured();
  await second();
  await until(runPath(await run('Second', { model: SECOND, temperature: 0.9 })), 'completed');
  await until(runPath(await call('POST', `${runPath(calm)}/rescore`, { profile: (await call('GET', '/v1/eval_suites')).profiles.find((name) => name !== 'default') })), 'completed');
});
const second = () => call('POST', '/v1/admin/models', { name: SECOND, path: SECOND });

/** One that was measured before and after, and one that was cancelled; the id of the first. */
const merges = once(async () => {
  const { id } = await call('POST', '/v1/merges', { output: 'halfway', config: merge.replace(`./${MODEL}`, SECOND) });
  await until(`/v1/merges/${id}`, 'completed');
  const { id: other } = await call('POST', '/v1/merges', { output: 'averaged', config: `merge_method: linear\nmodels:\n${[MODEL, SECOND].map((model) => `  - model: ${model}\n    parameters: {weight: 0.5}\n`).join('')}` });
  await call('POST', `/v1/merges/${other}/cancel`);
  const pair = once(() => call('POST', '/v1/evals', { name: 'halfway · sums', data_source_config: { type: 'xenoglot_suite', suite: 'sums' }, metadata: { merge: id } }));
  for (const [side, model] of [['before', MODEL], ['after', 'halfway']]) await until(runPath(await run(model, { model, limit: 4, n: 2, tokens: 24 }, pair, { metadata: { side } })), 'completed');
  return id;
});

/** Its model was unloaded while it ran. */
const failedRun = once(async () => {
  const served = (await call('GET', '/v1/models')).data.some(({ id }) => id === SECOND);
  if (!served) await second();
  const made = await run('Cut short', { model: SECOND, n: 32, tokens: 200 });
  while (!((await call('GET', runPath(made))).xenoglot.samples_done > 20)) await sleep(200);
  await call('DELETE', `/v1/admin/models/${SECOND}`);
  await until(runPath(made), 'failed');
  return `${made.eval_id}/${made.id}`;
});

const unloadAll = once(async () => {
  const { data } = await call('GET', '/v1/models');
  for (const { id, parent } of data) if (!parent) await call('DELETE', `/v1/admin/models/${id}`);
});

async function openShot(theme, { path, key = 'sk-admin', language, width = 1180, height = 780 }) {
  const page = await open(browser, server.url, { colorScheme: theme, viewport: { width, height }, locale: language ?? 'en' });
  if (key) await page.evaluate((key) => sessionStorage.setItem('xenoglot.key', key), key);
  await page.goto(server.url + (typeof path === 'string' ? path : await path()));
  await page.reload();
  // A server that does not find the dashboard shows a page too.
  await page.locator('main').waitFor();
  return page;
}

async function take(page, theme, { name, ask, tokens, refused, wait = 300, full = name === 'server', first, yaml }) {
  if (ask) {
    await page.locator('.composer textarea').fill(ask);
    await page.locator('.composer button.primary').click();
    await page.waitForFunction(() => document.querySelector('[data-sample]') && !document.querySelector('[aria-busy=true]'));
  }
  if (tokens) await page.locator('[data-sample] button').first().click();
  if (refused) {
    await page.locator('input[type=password]').fill(refused);
    await page.locator('form button.primary').click();
    await page.getByRole('alert').waitFor();
  }
  if (name === 'server') await server.post('/v1/chat/completions', { model: MODEL, messages: [{ role: 'user', content: 'Tell a story.' }], max_tokens: 120 }, 'sk-admin');
  if (yaml) await page.getByRole('textbox', { name: 'Configuration as YAML' }).fill(yaml);
  if (first) await page.locator(first).first().click();
  await page.waitForTimeout(wait);
  await page.screenshot({ path: resolve(folder, `${name}-${theme}.png`), fullPage: full });
  await close(page);
}

const named = process.argv.slice(3);
const themes = ['light', 'dark'];
for (const shot of shots.filter(({ name }) => named.length === 0 || named.includes(name))) {
  if (shot.isAway) {
    const pages = [];
    for (const theme of themes) pages.push([await openShot(theme, shot), theme]);
    for (const [page] of pages) await page.locator('table').first().waitFor();
    await server.kill();
    for (const [page, theme] of pages) {
      await page.getByText('The server does not answer').waitFor();
      await take(page, theme, shot);
    }
    await server.resume();
  } else {
    for (const theme of themes) await take(await openShot(theme, shot), theme, shot);
  }
}
await browser.close();
await server.stop();
