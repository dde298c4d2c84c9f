// Evaluations in a browser: a run of the real model from the form to its samples, over a pause and over the end of the server.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { close, launch, open } from './browser.mjs';
import { MODEL, Server } from './server.mjs';
import { writeSums } from './suite.mjs';

let browser, server, run;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
  writeSums(server);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const get = async (path) => (await fetch(server.url + path)).json();
const runOf = () => get(`/v1/evals/${run.evalId}/runs/${run.id}`);
/** What a killed server's worker held is free again after 30 seconds. */
const status = (page, text) => page.locator('h1 .status', { hasText: text }).waitFor({ timeout: 60_000 });
const samples = (page) => page.locator('.facts .progress').first();
const counted = async (page) => Number((await samples(page).textContent()).match(/(\d+) of/)[1]);

test('a run is started from the form, watched, paused, resumed, and outlives its server', async () => {
  const page = await open(browser, `${server.url}/#/evaluations`);
  await page.getByText('Nothing was measured yet.').waitFor();
  await page.getByRole('link', { name: 'Start a run' }).click();
  await page.getByLabel('Suite').fill('sums');
  await page.getByLabel('Name', { exact: true }).fill('A first look');
  await page.getByLabel(/^Problems a language/).fill('6');
  await page.getByLabel(/^Samples a problem/).fill('2');
  await page.getByLabel(/^Tokens a sample/).fill('10');
  await page.getByText('Sampling', { exact: true }).click();
  await page.getByLabel(/^Seed/).fill('7');
  await page.getByLabel('Begin traces in the language').selectOption('yes');
  // What the server refuses it says, and nothing is left behind.
  await page.getByLabel('Languages', { exact: true }).fill('en xx');
  await page.getByRole('button', { name: 'Start' }).click();
  await page.getByRole('alert').getByText('xx').waitFor();
  assert.deepEqual((await get('/v1/evals')).data, []);
  await page.getByLabel('Languages', { exact: true }).fill('en ja');
  await page.getByRole('button', { name: 'Start' }).click();

  await page.getByRole('heading', { name: 'A first look' }).waitFor();
  const [, , , evalId, id] = new URL(page.url()).hash.split('/');
  run = { evalId, id };
  await status(page, 'Running');
  // Seen while it grows: the total, then samples, then scores with intervals.
  await page.getByText('of 24').first().waitFor();
  await page.waitForFunction(() => /^[1-9]\d* of 24/.test(document.querySelector('.facts .progress')?.textContent.trim()));
  await page.locator('table .score').first().waitFor();

  await page.getByRole('button', { name: 'Pause' }).click();
  await status(page, 'Paused');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Resume');
  assert.equal((await runOf()).status, 'paused');
  await page.keyboard.press('Enter');
  await status(page, 'Running');

  const before = await counted(page);
  await server.kill();
  await page.getByText('The server does not answer').waitFor();
  assert.ok((await counted(page)) >= before, 'what was there stays');
  await server.resume();
  await status(page, 'Completed');
  assert.equal(await counted(page), 24);
  // Nothing was lost or doubled on the page: the events of 24 samples were counted by language.
  await page.locator('tbody tr', { hasText: 'Japanese' }).getByText('12 of 12').waitFor();
  await page.locator('tbody tr', { hasText: 'English' }).getByText('12 of 12').waitFor();
  const results = (await runOf()).xenoglot.scores;
  assert.equal(results.overall.samples, 24);
  const shown = await page.locator('tr.overall .score .mean').first().textContent();
  assert.equal(shown, `${(100 * results.overall.pass_at['1'].mean).toFixed(1)}%`);
  // What it was measured with.
  await page.getByText((await runOf()).xenoglot.provenance.suite.sha256).waitFor();
  await close(page);
});

test('the list has runs by evaluation, and finds them', async () => {
  const page = await open(browser, `${server.url}/#/evaluations`);
  await page.getByRole('link', { name: 'A first look' }).waitFor();
  await page.getByText('24 of 24').waitFor();
  await page.getByRole('searchbox').fill('nothing like it');
  await page.getByText('No run fits these filters.').waitFor();
  assert.match(page.url(), /find=nothing/);
  await page.getByRole('searchbox').fill(MODEL.toLowerCase());
  await page.getByRole('link', { name: 'A first look' }).waitFor();
  await close(page);
});

test('a run can be cancelled and deleted, and its evaluation with it', async () => {
  const source = { type: 'xenoglot_suite', model: MODEL, n: 4, sampling_params: { max_completion_tokens: 64 } };
  const made = await server.post(`/v1/evals/${run.evalId}/runs`, { name: 'Long', data_source: source });
  const page = await open(browser, `${server.url}/#/evaluations/run/${run.evalId}/${made.id}`);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Keep' }).click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'End Long for good' }).click();
  await status(page, 'Cancelled');
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('button', { name: 'Delete Long with its samples' }).click();
  await page.getByRole('link', { name: 'A first look' }).waitFor();
  assert.equal((await get(`/v1/evals/${run.evalId}/runs`)).data.length, 1);
  await page.goto(`${server.url}/#/evaluations/run/${run.evalId}/${made.id}`);
  await page.getByRole('alert').waitFor();
  await close(page);
});
