// Merges in a browser, against the real server and the real model.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { methodsOf } from '../scripts/methods.mjs';
import { checkAccessible } from './axe.mjs';
import { close, launch, open } from './browser.mjs';
import { binary, MODEL, SECOND, Server } from './server.mjs';
import { writeSums } from './suite.mjs';

const KEY = 'sk-admin';
let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.startWithModels('--api-key', 'sk-use', '--admin-key', KEY)]);
  writeSums(server);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

async function visit(path) {
  const page = await open(browser, server.url);
  await page.evaluate((key) => sessionStorage.setItem('xenoglot.key', key), KEY);
  await page.goto(`${server.url}/#/${path}`);
  await page.reload();
  return page;
}
const text = (page) => page.getByRole('textbox', { name: 'Configuration as YAML' }).inputValue();
const get = async (path) => (await fetch(server.url + path, { headers: { authorization: `Bearer ${KEY}` } })).json();
const models = async () => (await get('/v1/models')).data.map(({ id }) => id);

test('the form’s methods are those of the program', () => {
  const schema = JSON.parse(execFileSync(binary, ['merge', '--schema'], { encoding: 'utf8' }));
  const committed = JSON.parse(readFileSync(new URL('../src/views/merges/methods.json', import.meta.url), 'utf8'));
  assert.deepEqual(methodsOf(schema), committed, 'run scripts/methods.mjs');
});

test('a merge is built in the form, planned, run, watched, and served', async () => {
  const page = await visit('merges');
  await page.getByText('Nothing was merged yet.').waitFor();
  await page.getByRole('link', { name: 'New merge' }).click();
  await page.getByLabel('Model 1', { exact: true }).fill(MODEL);
  await page.getByLabel('Model 2', { exact: true }).fill(SECOND);
  await page.getByLabel('weight of model 2').fill('0.25');
  await page.getByLabel('weight of model 2').blur();
  assert.match(await text(page), /merge_method: linear\nmodels:\n  - model: SmolLM2-135M-Instruct\n    parameters:\n      weight: 0\.5\n  - model: .*\n    parameters:\n      weight: 0\.25\n/);
  const picture = page.getByRole('img', { name: /32 layers of the result/ });
  await picture.waitFor();
  await picture.getByText('layer 29').first().waitFor();
  assert.match(await picture.textContent(), /embeddings.*0\.5/);
  await page.getByText('As a table').click();
  assert.equal(await page.getByRole('rowheader', { name: /^layer \d+$/ }).count(), 30);
  await page.getByLabel('Name of the result').fill('../out');
  await page.getByRole('button', { name: 'Merge', exact: true }).click();
  await page.getByText('is no name of a folder').waitFor();
  assert.equal(await page.getByLabel('Name of the result').getAttribute('aria-invalid'), 'true');
  await page.getByLabel('Name of the result').fill('twice');
  await page.getByRole('button', { name: 'Merge', exact: true }).click();
  await page.getByRole('heading', { name: 'twice' }).waitFor();
  await page.getByRole('status').filter({ hasText: 'Completed' }).waitFor({ timeout: 180_000 });
  await page.getByText(/^100%: 272 of 272 tensors/).waitFor();
  assert.ok((await models()).includes('twice'));
  // What was measured is found again by who comes later, and what is not served is told of.
  await page.getByRole('combobox', { name: 'Before', exact: true }).selectOption(SECOND);
  await page.getByText(`${SECOND} is not served`).waitFor();
  assert.ok(await page.getByRole('button', { name: 'Measure both' }).isDisabled());
  await page.getByRole('combobox', { name: 'Before', exact: true }).selectOption(MODEL);
  await page.getByText('is not served').waitFor({ state: 'detached' });
  await page.getByLabel('Suite').selectOption('sums');
  await page.getByRole('checkbox', { name: 'English' }).check();
  await page.getByLabel('Problems a language').fill('2');
  await page.getByLabel('Samples a problem').fill('2');
  await page.getByText('4 samples of each model').waitFor();
  // What the server refuses it says, and neither run is left behind.
  await page.getByLabel('Samples a problem').fill('100000');
  await page.getByRole('button', { name: 'Measure both' }).click();
  await page.getByRole('alert').getByText('data_source.n').waitFor();
  assert.deepEqual((await get('/v1/evals')).data, []);
  await page.getByLabel('Samples a problem').fill('2');
  await page.getByLabel('Tokens a sample, at most').fill('4');
  await server.hold(true, KEY);
  await page.getByRole('button', { name: 'Measure both' }).click();
  await page.getByText('once both runs are complete').waitFor();
  await page.reload();
  await page.getByText('once both runs are complete').waitFor();
  const { data: [of] } = await get('/v1/evals');
  const { data: runs } = await get(`/v1/evals/${of.id}/runs`);
  assert.deepEqual(runs.map(({ model, metadata, data_source: { limit, n, languages } }) => [model, metadata.side, limit, n, languages]), [[MODEL, 'before', 2, 2, ['en']], ['twice', 'after', 2, 2, ['en']]]);
  await server.hold(false, KEY);
  const compare = page.getByRole('link', { name: 'Compare before and after' });
  await compare.waitFor({ timeout: 180_000 });
  assert.equal(await page.getByText('4 of 4').count(), 2);
  await page.evaluate((id) => (location.hash = `#/merges/${id}`), new URL(page.url()).hash.match(/merge[-_]\w+/)[0]);
  await compare.click();
  await page.getByRole('heading', { name: 'B − A by language' }).waitFor();
  assert.match(page.url(), new RegExp(`a=${runs[0].id}&b=${runs[1].id}`));
  await close(page);
});

test('what became of a merge is told where it cannot be measured', async () => {
  const { data: [merge] } = await get('/v1/merges');
  await fetch(`${server.url}/v1/admin/models/twice`, { method: 'DELETE', headers: { authorization: `Bearer ${KEY}` } });
  const page = await visit(`merges/${merge.id}`);
  await page.getByRole('button', { name: 'Measure anew' }).click();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Before and after', 'the keyboard goes on from there');
  await page.getByText('The result is not served as twice').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Measure both' }).isDisabled());
  await page.getByRole('button', { name: 'Back to what was measured' }).click();
  await page.getByRole('link', { name: 'Compare before and after' }).waitFor();
  // A run that was deleted leaves nothing to compare.
  const { data: [of] } = await get('/v1/evals');
  const { data: runs } = await get(`/v1/evals/${of.id}/runs`);
  await fetch(`${server.url}/v1/evals/${of.id}/runs/${runs[1].id}`, { method: 'DELETE', headers: { authorization: `Bearer ${KEY}` } });
  await page.reload();
  await page.getByText('This run is not there any more.').waitFor();
  assert.equal(await page.getByRole('link', { name: 'Compare before and after' }).count(), 0);
  await close(page);
});

test('text and form keep in step, and mistakes are told at their line', async () => {
  const page = await visit('merges/new');
  const area = page.getByRole('textbox', { name: 'Configuration as YAML' });
  await area.fill(`merge_method: ties\nbase_model: ${MODEL}\nmodels:\n  - model: ${MODEL}\n    parameters: {weight: 0.5, density: [0.2, 0.8]}\nparameters: {lambda: 2}\n`);
  assert.equal(await page.getByLabel('Method').inputValue(), 'ties');
  assert.equal(await page.getByLabel('density of model 1').inputValue(), '0.2, 0.8');
  assert.equal(await page.getByLabel('lambda').inputValue(), '2');
  assert.equal(await page.getByLabel('Base model').inputValue(), MODEL);
  await page.getByLabel('density of model 1').fill('0.4');
  await page.getByLabel('density of model 1').blur();
  assert.match(await text(page), /weight: 0\.5\n      density: 0\.4\n/);
  // Another language of the interface leaves all of it.
  await page.getByLabel('Name of the result').fill('half');
  for (const code of ['th', 'en']) {
    await page.locator('header select').first().selectOption(code);
    await page.waitForFunction((code) => document.documentElement.lang === code, code);
    assert.match(await page.locator('textarea').inputValue(), /weight: 0\.5\n      density: 0\.4\n/);
  }
  assert.equal(await page.getByLabel('Name of the result').inputValue(), 'half');
  // What the form does not show is used as it stands.
  await area.fill(`# by hand\n${await text(page)}`);
  await page.getByText('The text has parts that the form does not show.').waitFor();
  assert.equal(await page.getByLabel('Method').count(), 0);
  await area.fill(`merge_method: ties\nbase_model: ${MODEL}\nmodels:\n  - model: ${MODEL}\n    parameters:\n      weight: 0.5\n      density: 7\n`);
  await page.getByRole('button', { name: 'Go to line 7' }).click();
  assert.equal(await area.getAttribute('aria-invalid'), 'true');
  const selected = await page.evaluate(() => {
    const { value, selectionStart, selectionEnd } = document.activeElement;
    return value.slice(selectionStart, selectionEnd);
  });
  assert.equal(selected.trim(), 'density: 7');
  assert.equal(await page.locator('.gutter .wrong').textContent(), '7');
  // Layers stacked upon each other.
  await area.fill(`merge_method: passthrough\nmodels:\n  - model: ${MODEL}\n`);
  await page.getByLabel('Stack layers of models').check();
  await page.getByLabel('Up to, without').fill('4');
  await page.getByLabel('Up to, without').blur();
  assert.match(await text(page), /slices:\n  - sources:\n      - model: SmolLM2-135M-Instruct\n        layer_range: \[0, 4\]\n/);
  await page.getByRole('img', { name: /6 layers of the result/ }).waitFor();
  await close(page);
});

test('MAET’s selection is drawn from the file that the program writes', async () => {
  const page = await visit('merges/maet');
  await page.getByLabel('Selection (JSON)').setInputFiles([{ name: 'x.json', mimeType: 'application/json', buffer: Buffer.from('{"similarity": 1}') }]);
  await page.getByText('This is no selection of MAET: similarity').waitFor();
  await page.getByLabel('Selection (JSON)').setInputFiles(selectionFile());
  const map = page.getByRole('table', { name: 'Layers and modules' });
  await map.waitFor();
  assert.ok((await map.getByRole('row').count()) > 2);
  assert.match(await page.getByText(/tensors are chosen/).textContent(), /of the weights/);
  assert.ok((await map.locator('td.chosen').count()) > 0);
  assert.ok((await map.locator('td.minus').count()) > 0, 'some pull apart');
  await page.getByLabel('Shown').selectOption('ability_norm');
  assert.match(page.url(), /measure=ability_norm$/);
  assert.equal(await map.locator('td.minus').count(), 0, 'a length has no sign');
  await page.getByText('Tensors by rank').click();
  await page.getByRole('rowheader', { name: /mlp\.down_proj\.weight/ }).first().waitFor();
  await close(page);
});

/** Two merges of a tiny model, whose modules differ from it in different ways, compared by the program. */
function selectionFile() {
  const run = (...options) => execFileSync(binary, options, { cwd: server.folder, stdio: ['ignore', 'ignore', 'pipe'] });
  const tiny = resolve(import.meta.dirname, '../../tests/fixtures/models/llama_linear');
  for (const [name, attention, mlp] of [['ability', 1.5, 1.2], ['language', 0.7, 1.4]]) {
    const scale = `[{filter: self_attn, value: ${attention}}, {filter: mlp, value: ${mlp}}, {value: 1.1}]`;
    writeFileSync(join(server.folder, `${name}.yml`), `merge_method: passthrough\nmodels: [{model: "${tiny}", parameters: {scale: ${scale}}}]\ndtype: float32\n`);
    run('merge', `${name}.yml`, name);
  }
  run('maet', 'select', '--base', tiny, '--ability', 'ability', '--beta', '0', '--language', 'language', '--k2', '0.5', '--json', 'selection.json');
  return join(server.folder, 'selection.json');
}

test('no view of merges has a serious violation', async () => {
  const config = `merge_method: ties\nbase_model: ${MODEL}\nmodels:\n  - model: ${MODEL}\n    parameters: {weight: 0.5, density: 0.5}\n`;
  const { data: [merge] } = await get('/v1/merges');
  const views = [
    ['merges', (page) => page.locator('table').waitFor()],
    [`merges/${merge.id}`, (page) => page.getByRole('heading', { name: 'Before and after' }).waitFor()],
    [`merges/${merge.id}?form`, async (page) => {
      await page.getByRole('button', { name: 'Measure anew' }).click();
      await page.getByRole('button', { name: 'Measure both' }).waitFor();
    }],
    ['merges/new', async (page) => {
      await page.getByRole('textbox', { name: 'Configuration as YAML' }).fill(config);
      await page.getByRole('img', { name: /layers of the result/ }).waitFor();
      await page.getByLabel('density of model 1').waitFor();
    }],
    ['merges/maet', async (page) => {
      await page.getByLabel('Selection (JSON)').setInputFiles(join(server.folder, 'selection.json'));
      await page.getByRole('table', { name: 'Layers and modules' }).waitFor();
    }],
  ];
  for (const [path, ready] of views) {
    const page = await visit(path);
    await ready(page);
    await page.evaluate(() => document.querySelectorAll('details').forEach((folded) => (folded.open = true)));
    await checkAccessible(page, path);
    await close(page);
  }
});
