// Pictures of every view for the documentation, light and dark: `node scripts/screens.mjs [folder [name ..]]` after a build.
// They are looked at before they are committed.
import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { close, launch, open } from '../tests/browser.mjs';
import { MODEL, Server } from '../tests/server.mjs';
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
  { name: 'playground', path: playground({ language: 'ja', n: '2', colours: 'true', max_tokens: '140', temperature: '0.6', extra: answers(mixed) }), ask: 'りんごが12個あります。5個食べました。残りは何個ですか。' },
  { name: 'side-by-side', path: playground({ columns: '2', language: 'es', language2: 'sw', colours: 'true', logprobs: 'true', max_tokens: '40', temperature: '0', seed: '1' }), ask: 'What is 12 − 5?', tokens: true },
  { name: 'playground-ar', path: playground({ language: 'ar', colours: 'true', max_tokens: '120', extra: answers('لدينا ١٢ تفاحة وأكلنا ٥، إذن يبقى $12 - 5 = 7$ تفاحات. الجواب هو \\boxed{٧}') }), ask: 'عندي ١٢ تفاحة وأكلت ٥. كم بقي؟', language: 'ar' },
  { name: 'phone', path: playground({ language: 'th', colours: 'true', max_tokens: '200', extra: answers('มีแอปเปิล 12 ผล กินไป 5 ผล เหลือ $12 - 5 = 7$ ผล คำตอบคือ \\boxed{7}') }), ask: 'มีแอปเปิล 12 ผล กินไป 5 ผล เหลือกี่ผล', language: 'th', width: 390 },
  { name: 'server', path: '/#/server', wait: 11_000 },
  { name: 'evaluations', path: '/#/evaluations' },
  { name: 'new-run', path: '/#/evaluations/new' },
  { name: 'evaluation', path: '/#/evaluations/run/A', full: true },
  { name: 'samples', path: '/#/evaluations/run/A/samples' },
  { name: 'problem', path: '/#/evaluations/run/A/problem/s01?language=ja', full: true, wait: 1500 },
  { name: 'curves', path: '/#/evaluations/run/A/curves?show=all,ja' },
  { name: 'token-tax', path: '/#/evaluations/run/A/languages', full: true },
  { name: 'matrix', path: '/#/evaluations/matrix', full: true },
  { name: 'compare', path: '/#/evaluations/compare?a=A_ID&b=B_ID', full: true },
  { name: 'evaluation-phone', path: '/#/evaluations/run/A', language: 'ar', width: 390 },
  { name: 'training', path: () => `/#/training/${training}?smooth=0.6`, wait: 2500, height: 1000 },
  { name: 'training-form', path: () => `/#/training/new?from=${training}`, wait: 1000 },
  { name: 'completions', path: () => `/#/training/${training}/completions?order=reward&colours=true`, wait: 1500, first: '.box a' },
  { name: 'merge', path: '/#/merges/new', wait: 2500, yaml: merge, height: 1100 },
];
const prompts = [['What is 2 + 3?', '5', 'en'], ['¿Cuánto es 2 + 4?', '6', 'es'], ['2 + 5 は？', '7', 'ja'], ['2 + 6 เท่ากับเท่าไร', '8', 'th']];

/** A reinforcement training of a few updates; its id when it has ended. */
async function train() {
  const authorization = 'Bearer sk-admin';
  const body = new FormData();
  body.append('purpose', 'fine-tune');
  body.append('file', new Blob(prompts.map(([content, answer, language]) => `${JSON.stringify({ messages: [{ role: 'user', content }], answer, language })}\n`)), 'prompts.jsonl');
  const file = await (await fetch(`${server.url}/v1/files`, { method: 'POST', headers: { authorization }, body })).json();
  const graders = {
    acc: { type: 'math_answer', name: 'acc', reference: '{{ item.answer }}', language: '{{ item.language }}' },
    lang: { type: 'language_consistency', name: 'lang', target: '{{ item.language }}', mode: 'probability' },
  };
  const reinforcement = {
    lora: { r: 8 }, num_generations: 6, max_completion_length: 32, hyperparameters: { max_steps: 12, batch_size: 4, learning_rate: 1e-3 },
    grader: { type: 'multi', name: 'reward', calculate_output: 'acc + 0.5*lang', graders },
  };
  const job = await server.post('/v1/fine_tuning/jobs', { model: MODEL, training_file: file.id, suffix: 'follow', method: { type: 'reinforcement', reinforcement } }, 'sk-admin');
  for (;;) {
    const { status } = await (await fetch(`${server.url}/v1/fine_tuning/jobs/${job.id}`, { headers: { authorization } })).json();
    if (status === 'succeeded') return job.id;
    if (status === 'failed' || !status) throw new Error(`the training ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

const [browser, server] = await Promise.all([launch(), Server.start('--api-key', 'sk-use', '--admin-key', 'sk-admin')]);

/** Two runs of the same sums: as the model is, and as it is where it samples wildly. */
async function measured() {
  writeSums(server);
  const evaluation = await server.post('/v1/evals', { name: 'Sums', data_source_config: { type: 'xenoglot_suite', suite: 'sums' } }, 'sk-admin');
  const runs = [];
  for (const [name, temperature] of [['Calm', 0.2], ['Wild', 1.4]]) {
    const source = { type: 'xenoglot_suite', model: MODEL, limit: 12, n: 8, sampling_params: { temperature, seed: 1, max_completion_tokens: 40 } };
    runs.push(await server.post(`/v1/evals/${evaluation.id}/runs`, { name, data_source: source }, 'sk-admin'));
  }
  const headers = { authorization: 'Bearer sk-admin' };
  for (const { id } of runs) {
    for (let status = ''; status !== 'completed'; ) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      ({ status } = await (await fetch(`${server.url}/v1/evals/${evaluation.id}/runs/${id}`, { headers })).json());
      if (status === 'failed') throw new Error('a run failed');
    }
  }
  return { evaluation, runs };
}
const named = process.argv.slice(3);
const wanted = shots.filter(({ name }) => named.length === 0 || named.includes(name));
const training = await train();
const { evaluation, runs } = await measured();
const measuredAt = (path) => path.replace('run/A', `run/${evaluation.id}/${runs[0].id}`).replace('A_ID', runs[0].id).replace('B_ID', runs[1].id);

for (const theme of ['light', 'dark']) {
  for (const { name, path, key = 'sk-admin', ask, tokens, language, width = 1180, height = 780, wait = 300, full = name === 'server', first, yaml } of wanted) {
    const page = await open(browser, server.url, { colorScheme: theme, viewport: { width, height }, locale: language ?? 'en' });
    if (key) await page.evaluate((key) => sessionStorage.setItem('xenoglot.key', key), key);
    await page.goto(server.url + (typeof path === 'string' ? measuredAt(path) : path()));
    await page.reload();
    if (ask) {
      await page.locator('.composer textarea').fill(ask);
      await page.locator('.composer button.primary').click();
      await page.waitForFunction(() => document.querySelector('[data-sample]') && !document.querySelector('[aria-busy=true]'));
    }
    if (tokens) await page.locator('[data-sample] button').first().click();
    if (name === 'server') await server.post('/v1/chat/completions', { model: MODEL, messages: [{ role: 'user', content: 'Tell a story.' }], max_tokens: 120 }, 'sk-admin');
    if (yaml) await page.getByRole('textbox', { name: 'Configuration as YAML' }).fill(yaml);
    if (first) await page.locator(first).first().click();
    await page.waitForTimeout(wait);
    await page.screenshot({ path: resolve(folder, `${name}-${theme}.png`), fullPage: full });
    await close(page);
  }
}
await browser.close();
await server.stop();
