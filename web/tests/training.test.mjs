// Trainings in a browser, against the real server and the real model.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { checkAccessible } from './axe.mjs';
import { close, launch, open } from './browser.mjs';
import { MODEL, Server } from './server.mjs';

const KEY = 'sk-admin';
let browser, server, file;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start('--api-key', 'sk-use', '--admin-key', KEY)]);
  file = await upload('lines.jsonl', data);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const line = (question, answer) => JSON.stringify({ messages: [{ role: 'user', content: question }, { role: 'assistant', content: answer }] });
const data = [line('What is 2 + 3?', 'It is 5.'), line('Name a colour.', 'Blue.'), line('りんごは何色ですか。', '赤です。'), line('Say hello.', 'Hello!')].join('\n');

async function upload(name, text) {
  const body = new FormData();
  body.append('purpose', 'fine-tune');
  body.append('file', new Blob([text]), name);
  return (await (await fetch(`${server.url}/v1/files`, { method: 'POST', headers: { authorization: `Bearer ${KEY}` }, body })).json()).id;
}
async function visit(path) {
  const page = await open(browser, server.url);
  await page.evaluate((key) => sessionStorage.setItem('xenoglot.key', key), KEY);
  await page.goto(`${server.url}/#/${path}`);
  await page.reload();
  return page;
}
const train = (suffix, settings) => server.post('/v1/fine_tuning/jobs', { model: MODEL, training_file: file, suffix, method: { type: 'supervised', supervised: { lora: { r: 2 }, ...settings } } }, KEY);
const status = (page, word) => page.getByRole('status').filter({ hasText: word }).waitFor();
const lastStep = (page, curve) => page.getByRole('slider', { name: curve, exact: true }).getAttribute('aria-valuemax').then(Number);

test('a training is described in the form, refused at its field, started and watched', async () => {
  const page = await visit('training');
  await page.getByText('Nothing was trained yet.').waitFor();
  await page.getByRole('link', { name: 'New training' }).click();
  await page.getByRole('heading', { name: 'New training' }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main', 'the keyboard goes on from the new page');
  await page.getByLabel('model', { exact: false }).first().fill(MODEL);
  await page.locator('input[type=file]').first().setInputFiles([{ name: 'greetings.jsonl', mimeType: 'text/plain', buffer: Buffer.from(data) }]);
  await page.getByRole('button', { name: 'Remove greetings.jsonl' }).waitFor();
  await page.getByLabel('suffix').fill('a b');
  await page.getByLabel('lora').check();
  await page.getByLabel('r*', { exact: true }).or(page.getByLabel('r', { exact: true })).fill('2');
  await page.locator('summary').filter({ hasText: 'hyperparameters' }).click();
  await page.getByLabel('max_steps').fill('6');
  await page.getByLabel('batch_size', { exact: true }).fill('1');
  await page.getByLabel('packing').selectOption('false');
  // Another language of the interface leaves all of it.
  for (const code of ['es', 'en']) {
    await page.locator('header select').first().selectOption(code);
    await page.waitForFunction((code) => document.documentElement.lang === code, code);
    assert.equal(await page.getByLabel('suffix').inputValue(), 'a b');
    assert.equal(await page.getByLabel('max_steps').inputValue(), '6');
  }
  // Two mistakes: the server tells one at a time, each at its field.
  await page.getByLabel('dtype').fill('f16');
  await page.locator('summary').filter({ hasText: 'hyperparameters' }).click();
  await page.getByRole('button', { name: 'Start the training' }).click();
  await page.locator('input[aria-invalid=true]').waitFor();
  assert.match(await page.evaluate(() => document.activeElement.id), /-suffix$/);
  const described = await page.evaluate(() => document.activeElement.getAttribute('aria-describedby').split(' ').map((id) => document.getElementById(id).textContent).join(' '));
  assert.match(described, /The end of the result's name\..*letters of ASCII/s);
  await page.getByLabel('suffix').fill('from-form');
  await page.getByRole('button', { name: 'Start the training' }).click();
  await page.waitForFunction(() => document.activeElement.id.endsWith('-method.supervised.hyperparameters.dtype'));
  assert.ok(await page.getByLabel('dtype').isVisible(), 'what was folded is opened');
  await page.getByLabel('dtype').fill('');
  await page.getByRole('button', { name: 'Start the training' }).click();

  await page.getByRole('heading', { name: 'from-form' }).waitFor();
  await page.getByRole('slider', { name: 'Loss', exact: true }).waitFor({ timeout: 40_000 });
  const early = await lastStep(page, 'Loss');
  await status(page, 'Succeeded');
  await page.waitForFunction(() => document.querySelector('[role=slider][aria-label="Loss"]').ariaValueMax === '6');
  assert.ok(early <= 6);
  await page.getByText('6 of 6 steps').waitFor();
  await page.getByText(/the training has succeeded/).waitFor();
  const [job] = (await (await fetch(`${server.url}/v1/fine_tuning/jobs`, { headers: { authorization: `Bearer ${KEY}` } })).json()).data;
  assert.deepEqual([job.training_file.length > 0, job.method.supervised.lora.r, job.hyperparameters.max_steps, job.hyperparameters.packing], [true, 2, 6, false]);
  await page.getByRole('link', { name: job.fine_tuned_model }).waitFor();
  // A curve is read by keyboard.
  await page.getByRole('slider', { name: 'Loss', exact: true }).focus();
  await page.locator('canvas').first().waitFor();
  await page.keyboard.press('Home');
  const spoken = () => page.getByRole('slider', { name: 'Loss', exact: true }).getAttribute('aria-valuetext');
  const first = await spoken();
  assert.match(first, /^Step \d+, loss [\d.]+/);
  await page.keyboard.press('End');
  assert.match(await spoken(), /^Step 6, /);
  await page.getByLabel('Smoothing').fill('0.5');
  await page.getByLabel('Logarithmic').check();
  assert.match(page.url(), /smooth=0\.5&log=true$/);
  const saved = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Metrics as CSV' }).click();
  assert.match((await saved).suggestedFilename(), /metrics\.csv$/);
  await page.getByRole('link', { name: 'Another one like it' }).click();
  await page.getByLabel('suffix').waitFor();
  assert.equal(await page.getByLabel('max_steps').inputValue(), '6');
  await close(page);
});

test('a training that runs is followed over the end of its server, paused, resumed and cancelled', async () => {
  const { id } = await train('long', { hyperparameters: { max_steps: 4000, batch_size: 1, packing: false, save_steps: 2 } });
  const page = await visit(`training/${id}`);
  await page.getByRole('slider', { name: 'Loss', exact: true }).waitFor({ timeout: 40_000 });
  const early = await lastStep(page, 'Loss');
  await page.waitForFunction((early) => Number(document.querySelector('[role=slider][aria-label="Loss"]').ariaValueMax) > early, early);
  await page.locator('table').filter({ hasText: 'Training loss' }).waitFor();
  await server.kill();
  await page.getByText('The server does not answer').waitFor();
  await server.resume();
  await page.getByText('The server does not answer').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Pause' }).click();
  await status(page, 'Paused');
  await page.getByText('the training was paused').waitFor();
  assert.equal(await page.getByText(/step 0 of 4000/).count(), 1, 'nothing is told twice');
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.getByText('the training was resumed').waitFor();
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel for good; checkpoints are removed');
  await page.keyboard.press('Enter');
  await status(page, 'Cancelled');
  await page.getByText('the training was cancelled').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Cancel', exact: true }).count(), 0);
  await page.goto(`${server.url}/#/training`);
  await page.getByRole('row').filter({ hasText: 'long' }).filter({ hasText: 'Cancelled' }).waitFor();
  await close(page);
});

test('what a policy answered is read by update, by worth and by text', async () => {
  const questions = ['What is 2 + 3?', 'What is 1 + 1?', 'Name a colour.', 'Say hello.'];
  const prompts = await upload('prompts.jsonl', questions.map((prompt) => JSON.stringify({ prompt, wanted: 'e' })).join('\n'));
  const grader = { type: 'string_check', name: 'wanted', operation: 'like', input: '{{ sample.output_text }}', reference: '{{ item.wanted }}' };
  const settings = { grader, lora: { r: 2 }, num_generations: 4, max_prompt_length: 64, max_completion_length: 8, hyperparameters: { max_steps: 2, batch_size: 2 } };
  const { id } = await server.post('/v1/fine_tuning/jobs', { model: MODEL, training_file: prompts, suffix: 'policy', method: { type: 'reinforcement', reinforcement: settings } }, KEY);
  const page = await visit(`training/${id}`);
  await page.getByRole('status').filter({ hasText: 'Succeeded' }).waitFor({ timeout: 90_000 });
  await page.getByRole('link', { name: 'Completions' }).click();
  await page.getByRole('heading', { name: 'Completions' }).waitFor();
  const shown = (text) => page.getByRole('status').filter({ hasText: text }).waitFor();
  await shown('8 of 8');
  assert.ok(await page.getByRole('button', { name: 'Later step' }).isDisabled());
  await page.getByRole('button', { name: 'Earlier step' }).click();
  await page.waitForFunction(() => location.hash.includes('step=1'));
  await shown('8 of 8');
  await page.getByLabel('Contains').fill('no policy says this');
  await page.getByText('No completion is like that.').waitFor();
  await page.getByLabel('Contains').fill('');
  await page.getByLabel('Order').selectOption('reward');
  await shown('8 of 8');
  const { data } = await (await fetch(`${server.url}/v1/fine_tuning/jobs/${id}/completions?step=1`, { headers: { authorization: `Bearer ${KEY}` } })).json();
  assert.equal(data.length, 8);

  await page.getByRole('region', { name: 'Completions' }).getByRole('link').first().click();
  const answer = page.getByRole('article', { name: 'Completion' });
  await answer.getByText('n = 4').waitFor();
  const chosen = data.find(({ id }) => id === new URLSearchParams(page.url().split('?').at(-1)).get('row'));
  assert.equal(chosen.reward, Math.max(...data.map(({ reward }) => reward)), 'the best comes first');
  await page.reload();
  await answer.getByText('Prompt').click();
  assert.equal((await answer.locator('.prompt').textContent()), chosen.prompt);
  await answer.getByLabel('Colour by language').check();
  await page.waitForFunction(() => location.hash.includes('colours=true'));
  await checkAccessible(page, 'training/completions');
  await answer.getByRole('button', { name: 'Close' }).click();
  await answer.waitFor({ state: 'detached' });
  await close(page);
});

test('a training that is not there, and keys that may not train', async () => {
  const page = await visit('training/ftjob-none');
  await page.getByRole('alert').filter({ hasText: 'ftjob-none' }).waitFor();
  await page.getByRole('button', { name: /Sign out/ }).click();
  await page.getByLabel('API key').fill('sk-use');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('There is no such view').waitFor();
  assert.equal(await page.getByRole('link', { name: 'Training' }).count(), 0);
  await close(page);
});

test('no view of trainings has a serious violation', async () => {
  const { data: jobs } = await (await fetch(`${server.url}/v1/fine_tuning/jobs`, { headers: { authorization: `Bearer ${KEY}` } })).json();
  const job = jobs.find(({ suffix }) => suffix === 'from-form');
  const views = [
    ['training', (page) => page.locator('table').waitFor()],
    [`training/${job.id}?smooth=0.5`, (page) => page.locator('canvas').first().waitFor()],
    [`training/new?from=${job.id}`, (page) => page.getByLabel('max_steps').waitFor({ state: 'attached' })],
  ];
  for (const [path, ready] of views) {
    const page = await visit(path);
    await ready(page);
    await page.evaluate(() => document.querySelectorAll('details').forEach((folded) => (folded.open = true)));
    await checkAccessible(page, path);
    await close(page);
  }
});
