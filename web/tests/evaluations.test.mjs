// Evaluations in a browser: a run of the real model from the form to its samples, over a pause and over the end of the server.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { checkAccessible } from './axe.mjs';
import { close, launch, open } from './browser.mjs';
import { MODEL, Server } from './server.mjs';
import { ATTACK, writeSums } from './suite.mjs';

let browser, server, run;
before(async () => {
  // Few samples at once: some are there before all are.
  [browser, server] = await Promise.all([launch(), Server.start('--max-num-seqs', '8')]);
  writeSums(server);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const get = async (path) => (await fetch(server.url + path)).json();
const runOf = () => get(`/v1/evals/${run.evalId}/runs/${run.id}`);
/** What a killed server's worker held is free again after 30 seconds. */
const status = (page, text) => page.locator('h1 .status', { hasText: text }).waitFor({ timeout: 180_000 });
const samples = (page) => page.locator('.facts .progress').first();
const counted = async (page) => Number((await samples(page).textContent()).match(/(\d+) of/)[1]);

test('a run is started from the form, watched, paused, resumed, and outlives its server', async () => {
  const page = await open(browser, `${server.url}/#/evaluations`);
  await page.getByText('Nothing was measured yet.').waitFor();
  await page.getByRole('link', { name: 'Start a run' }).click();
  await page.getByLabel('Suite').selectOption('sums');
  await page.getByLabel('Name', { exact: true }).fill('A first look');
  await page.getByLabel(/^Problems a language/).fill('6');
  await page.getByLabel(/^Tokens a sample/).fill('96');
  await page.getByText('Sampling', { exact: true }).click();
  await page.getByLabel(/^Seed/).fill('7');
  await page.getByLabel('Begin traces in the language').selectOption('yes');
  // What the server refuses it says, and nothing is left behind.
  await page.getByLabel(/^Samples a problem/).fill('100000');
  await page.getByRole('button', { name: 'Start' }).click();
  await page.getByRole('alert').getByText('data_source.n').waitFor();
  assert.deepEqual((await get('/v1/evals')).data, []);
  await page.getByLabel(/^Samples a problem/).fill('8');
  await page.getByRole('checkbox', { name: 'English' }).check();
  await page.getByText('1 languages, 6 problems, 48 samples').waitFor();
  await page.getByLabel('Japanese').check();
  await page.getByText('96 samples').waitFor();
  await page.getByRole('button', { name: 'Start' }).click();

  await page.getByRole('heading', { name: 'A first look' }).waitFor();
  const [, , , evalId, id] = new URL(page.url()).hash.split('/');
  run = { evalId, id };
  for (let read = await runOf(); !(read.xenoglot.samples_done >= 8); read = await runOf()) {
    assert.match(read.status, /queued|in_progress/, read.error?.message);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await server.hold(true);
  await status(page, 'Running');
  // Seen while it grows: the total, then samples, then scores with intervals.
  await page.getByText('of 96').first().waitFor();
  await page.waitForFunction(() => /^[1-9]\d* of 96/.test(document.querySelector('.facts .progress')?.textContent.trim()));
  await page.locator('table .score').first().waitFor();

  // What they are written in is seen as they come, which events do not tell.
  await page.getByRole('link', { name: 'Languages', exact: true }).click();
  await page.locator('.stackbar').first().waitFor();
  assert.equal((await runOf()).status, 'in_progress');
  await page.getByRole('link', { name: 'Overview', exact: true }).click();

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
  assert.equal(await counted(page), 96);
  // Nothing was lost or doubled on the page: the events of 96 samples were counted by language.
  await page.locator('tbody tr', { hasText: 'Japanese' }).getByText('48 of 48').waitFor();
  await page.locator('tbody tr', { hasText: 'English' }).getByText('48 of 48').waitFor();
  const results = (await runOf()).xenoglot.scores;
  assert.equal(results.overall.samples, 96);
  const shown = await page.locator('tr.overall .score .mean').first().textContent();
  assert.equal(shown, `${(100 * results.overall.pass_at['1'].mean).toFixed(1)}%`);
  // Following with what could not be decided, out of all samples.
  const undecidable = results.overall.language_undecidable;
  if (undecidable > 0) assert.ok((await page.locator('tr.overall .undecidable').textContent()).includes(`${(100 * undecidable).toFixed(1)}%`));
  // What it was measured with.
  await page.getByText((await runOf()).xenoglot.provenance.suite.sha256).waitFor();
  await close(page);
});

test('the list has runs by evaluation, and finds them', async () => {
  const page = await open(browser, `${server.url}/#/evaluations`);
  await page.getByRole('link', { name: 'A first look' }).waitFor();
  await page.getByText('96 of 96').waitFor();
  await page.getByRole('searchbox').fill('nothing like it');
  await page.getByText('No run fits these filters.').waitFor();
  assert.match(page.url(), /find=nothing/);
  await page.getByRole('searchbox').fill(MODEL.toLowerCase());
  await page.getByRole('link', { name: 'A first look' }).waitFor();
  await close(page);
});

const runHref = (...more) => `${server.url}/#/evaluations/run/${run.evalId}/${run.id}${more.map((part) => `/${part}`).join('')}`;

test('samples are filtered in the address and reached by keyboard, and a problem shows them in its languages', async () => {
  const page = await open(browser, runHref('samples'));
  await page.getByText('96 of 96 samples').waitFor();
  const outcome = await page.locator('[role=row] [role=gridcell]:nth-child(4)').first().textContent();
  await page.getByLabel('Japanese').check();
  await page.getByText('48 of 96 samples').waitFor();
  assert.match(page.url(), /language=ja/);
  await page.getByLabel('Problem', { exact: true }).fill('s03');
  await page.getByText('8 of 96 samples').waitFor();
  await page.reload();
  await page.getByText('8 of 96 samples').waitFor();
  await page.getByLabel('Tokens to').fill('0');
  await page.getByText('No sample passes these filters.').waitFor();
  await page.getByRole('button', { name: 'Show all' }).click();
  await page.getByText('96 of 96 samples').waitFor();
  // A table that was scrolled and then had no row has its rows again.
  await page.getByRole('grid').evaluate((grid) => grid.scrollTo({ top: 1500 }));
  await page.getByRole('searchbox').fill('zzz');
  await page.getByRole('grid').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Show all' }).click();
  await page.locator('[role=row] [role=gridcell]').first().waitFor();
  await page.locator('label', { hasText: outcome }).first().click();
  assert.match(page.url(), /outcome=/);
  await page.getByLabel('Order').selectOption('problem');

  await page.getByRole('grid').focus();
  await page.keyboard.press('End');
  await page.keyboard.press('ArrowUp');
  const active = page.locator('.line.current');
  const [id, language] = [await active.locator('[role=gridcell]').nth(0).textContent(), await active.locator('[role=gridcell]').nth(1).textContent()];
  const left = page.url();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: `Problem ${id}` }).waitFor();
  await page.locator('tr.here', { hasText: language }).waitFor();
  // The same item in the other language, its traces coloured where their language changes.
  await page.getByRole('link', { name: 'Japanese' }).click();
  await page.locator('.ribbon .language-1, .ribbon .language-2, .ribbon .language-3').first().waitFor();
  await page.locator('.katex').first().waitFor();
  await page.getByText('Let me add').waitFor({ state: 'detached' });
  await page.getByRole('button', { name: /^Sample 2,/ }).click();
  assert.match(page.url(), /sample=1/);
  await page.getByRole('heading', { name: /^Sample 2/ }).waitFor();
  await page.keyboard.press('ArrowLeft');
  await page.getByRole('heading', { name: /^Sample 1/ }).waitFor();
  // The table is where it was left.
  await page.evaluate((url) => (location.href = url), left);
  await active.waitFor();
  assert.deepEqual([await active.locator('[role=gridcell]').nth(0).textContent(), await active.locator('[role=gridcell]').nth(1).textContent()], [id, language]);
  await close(page);
});

test('what is opened while the server is away is there when it is back', async () => {
  const list = await open(browser, `${server.url}/#/evaluations`);
  await list.getByRole('link', { name: 'A first look' }).waitFor();
  const problem = await open(browser, `${runHref('problem', 's01')}?language=en`);
  const asked = problem.getByRole('region', { name: 'What was asked' });
  await asked.getByText('2 + 3 = ?').waitFor();
  const view = await open(browser, `${server.url}/#/playground`);
  await view.getByLabel('Message', { exact: true }).waitFor();
  await server.kill();
  await list.getByRole('link', { name: 'A first look' }).click();
  await problem.getByRole('link', { name: 'Next problem' }).click();
  await problem.getByRole('heading', { name: 'Problem s02' }).waitFor();
  await asked.getByText('Loading').waitFor();
  assert.equal(await asked.getByText('2 + 3 = ?').count(), 0, 'nothing of another problem');
  await view.getByRole('link', { name: 'Server' }).click();
  await view.getByLabel('Language of the interface').selectOption('es');
  for (const page of [list, problem, view]) await page.getByText('The server does not answer').waitFor();
  await server.resume();
  await list.locator('tr.overall .score').first().waitFor();
  await asked.getByText('3 + 3 = ?').waitFor();
  await problem.locator('article .text').first().waitFor();
  await view.getByRole('heading', { name: MODEL }).waitFor();
  await view.waitForFunction(() => document.documentElement.lang === 'es');
  await view.getByRole('link', { name: 'Servidor' }).waitFor();
  assert.ok(await view.evaluate(() => [...document.querySelectorAll('link[rel=stylesheet]')].every(({ sheet }) => sheet)));
  for (const page of [list, problem, view]) {
    assert.equal(await page.getByRole('alert').count(), 0);
    await close(page);
  }
});

test('a script in a data set or in a trace does not run', async () => {
  const source = { type: 'xenoglot_suite', model: MODEL, languages: ['en', 'es'], n: 1, thinking_prefix: true, sampling_params: { max_completion_tokens: 2 } };
  const made = await server.post(`/v1/evals/${run.evalId}/runs`, { name: ATTACK, data_source: source });
  const page = await open(browser, `${server.url}/#/evaluations/run/${run.evalId}/${made.id}/problem/${encodeURIComponent('<b>x</b>')}`);
  await page.locator('article .text').first().waitFor({ timeout: 180_000 });
  assert.ok((await page.locator('article .text').first().textContent()).includes('<script>window.pwned=1</script>'));
  assert.ok((await page.locator('h1').textContent()).includes('<img src=x'));
  assert.ok((await page.getByRole('heading', { level: 2 }).first().textContent()).includes('<b>x</b>'));
  await page.locator('.katex').first().waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  assert.equal(await page.locator('main').locator('img, script, b, [onerror]').count(), 0);
  await close(page);
});

test('curves, languages and files of a run', async () => {
  const page = await open(browser, runHref('curves'));
  await page.getByText('The figures as a table').click();
  assert.equal(await page.locator('figure tbody tr').count(), 8, 'pass@1 to pass@8');
  await page.getByLabel('Japanese').check();
  assert.match(page.url(), /show=all%2Cja/);
  await page.goto(runHref('languages'));
  await page.getByRole('heading', { name: 'Token tax' }).waitFor();
  const japanese = await page.locator('section', { hasText: 'What the samples are written in' }).locator('tr', { hasText: 'Japanese' }).last().textContent();
  assert.match(japanese, /English|Japanese/);
  await page.goto(runHref());
  const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'jsonl' }).click()]);
  const lines = readFileSync(await file.path(), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(lines.length, 96);
  assert.equal(new Set(lines.map(({ problem, language, sample }) => `${problem} ${language} ${sample}`)).size, 96);
  await close(page);
});

test('completions are judged again, and two runs are held against each other', async () => {
  const page = await open(browser, runHref());
  await page.getByRole('button', { name: 'Judge again' }).click();
  await page.getByRole('heading', { name: /judged by/ }).waitFor();
  await status(page, 'Completed');
  const other = new URL(page.url()).hash.split('/')[4];
  assert.notEqual(other, run.id);
  // At the same place of another run stands nothing of this one while its samples come.
  const text = page.locator('article .text').first();
  await page.goto(`${runHref('problem', 's01')}?language=en`);
  await text.waitFor();
  await page.route('**/output_items?*', () => {});
  await page.evaluate((hash) => (location.hash = hash), `#/evaluations/run/${run.evalId}/${other}/problem/s01?language=en`);
  await page.getByRole('heading', { name: /judged by/ }).waitFor();
  await page.getByRole('region', { name: 'What was asked' }).getByText('Loading').waitFor();
  assert.equal(await text.count(), 0);
  await page.unroute('**/output_items?*');
  await page.goto(`${server.url}/#/evaluations/compare?a=${run.id}&b=${other}`);
  // The same completions, judged in the same way: no difference, and none by chance.
  await page.locator('tr.overall').waitFor();
  const told = await page.locator('tr.overall td').allTextContents();
  assert.equal(told[0], '6');
  assert.match(told[3], /^0\.0%/);
  assert.equal(told[5], '1');
  await page.getByText('No such problem.').waitFor();
  await page.emulateMedia({ media: 'print' });
  assert.equal(await page.getByRole('combobox').filter({ visible: true }).count(), 0);
  await page.emulateMedia({ media: 'screen' });

  await page.goto(`${server.url}/#/evaluations/matrix`);
  const cell = page.locator('td.cell').first();
  // Not the newest run, but the one of all problems.
  const all = (await get('/v1/runs?status=completed')).data;
  const fullest = all.find(({ name }) => name === ATTACK);
  assert.ok(all.indexOf(fullest) > 0);
  const results = (await get(`/v1/evals/${run.evalId}/runs/${fullest.id}`)).xenoglot.scores;
  assert.ok((await cell.textContent()).includes(`${(100 * results.overall.pass_at['1'].mean).toFixed(1)}%`));
  assert.match(await cell.locator('a').getAttribute('title'), /13 problems × n = 1 · How answers are judged: /);
  await page.getByLabel('Metric').selectOption('following');
  await page.waitForFunction((text) => document.querySelector('td.cell')?.textContent.includes(text), `${(100 * results.overall.consistency.mean).toFixed(1)}%`);
  await close(page);
});

test('no page has a serious violation', async () => {
  const of = `evaluations/run/${run.evalId}/${run.id}`;
  const { data } = await get(`/v1/evals/${run.evalId}/runs`);
  const hostile = `evaluations/run/${run.evalId}/${data.find(({ name }) => name === ATTACK).id}`;
  const pages = {
    evaluations: 'h2', 'evaluations/new': 'fieldset .chip', [of]: 'td .score', [`${of}/samples`]: '[role=row]', [`${of}/curves`]: 'figure svg', [`${of}/languages`]: '.tax',
    [`${of}/problem/s01?language=ja`]: '.ribbon', [`${of}/problem/s01?language=en`]: '.text .katex', [`${hostile}/problem/s01?language=es`]: '.text .katex', 'evaluations/matrix': 'td.cell', [`evaluations/compare?a=${run.id}&b=${data.at(-1).id}`]: 'tr.overall', 'evaluations/nothing': '[role=alert]',
  };
  const page = await open(browser, server.url);
  for (const [path, ready] of Object.entries(pages)) {
    await page.goto(`${server.url}/#/${path}`);
    await page.locator(ready).first().waitFor();
    await checkAccessible(page, path);
  }
  await close(page);
});

test('a run can be cancelled and deleted, and its evaluation with it', async () => {
  const source = { type: 'xenoglot_suite', model: MODEL, n: 32, sampling_params: { max_completion_tokens: 256 } };
  await server.hold(true);
  const made = await server.post(`/v1/evals/${run.evalId}/runs`, { name: 'Long', data_source: source });
  const page = await open(browser, `${server.url}/#/evaluations/run/${run.evalId}/${made.id}`);
  await status(page, 'Running');
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Keep' }).click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'End Long for good' }).click();
  await status(page, 'Cancelled');
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('button', { name: 'Delete Long with its samples' }).click();
  await page.getByRole('link', { name: 'A first look', exact: true }).waitFor();
  assert.ok(!(await get(`/v1/evals/${run.evalId}/runs`)).data.some(({ id }) => id === made.id));
  await page.goto(`${server.url}/#/evaluations/run/${run.evalId}/${made.id}`);
  await page.getByRole('alert').waitFor();
  await close(page);
});
