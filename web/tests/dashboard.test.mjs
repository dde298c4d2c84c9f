// The dashboard in a browser, against the real server and the real model.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { close, launch, open, pressEnter } from './browser.mjs';
import { Gate } from './gate.mjs';
import { MODEL, Server } from './server.mjs';

let browser, server, gate;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start()]);
  gate = await Gate.before(server);
});
after(async () => {
  await browser?.close();
  gate?.close();
  await server?.stop();
});

const playground = (query, { url } = server) => `${url}/#/playground?${new URLSearchParams(query)}`;
/** What the events of a streamed answer said. */
const said = (events) => [...events.matchAll(/^data: (\{.*)$/gm)].map(([, event]) => JSON.parse(event).choices?.[0]?.delta?.content ?? '').join('');
/** One that answers as it is told. */
const answering = (text) => JSON.stringify({ structured_outputs: { choice: [text] } });

async function ask(page, question) {
  await page.getByLabel('Message', { exact: true }).fill(question);
  await page.getByRole('button', { name: 'Send' }).click();
}
const answer = (page, index = 0) => page.locator(`[data-sample="${index}"] .answer`).last();
const done = (page) => page.getByRole('status').filter({ hasText: 'Done' }).first().waitFor();

test('a first visit paints soon, and the keyboard finds its way', async (t) => {
  const page = await open(browser, server.url);
  await page.getByLabel('Message', { exact: true }).waitFor();
  const [paint, ready] = await page.evaluate(() => [performance.getEntriesByName('first-contentful-paint')[0]?.startTime, performance.now()]);
  t.diagnostic(`first contentful paint ${Math.round(paint)} ms, usable ${Math.round(ready)} ms`);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  assert.match(page.url(), /#\/playground$/);
  await page.goto(`${server.url}/#/nothing`);
  await page.getByText('There is no such view').waitFor();
  await close(page);
});

test('a chat streams in, and its address is the conversation’s settings', async () => {
  const page = await open(browser, playground({ temperature: '0', max_tokens: '40', language: 'es', seed: '7', extra: '{"ignore_eos": true}' }, gate));
  assert.equal(await page.getByLabel('temperature').inputValue(), '0');
  assert.equal(await page.getByLabel('Language of thinking').inputValue(), 'es');
  gate.hold((events) => said(events).length > 20);
  await ask(page, 'Count from one to thirty.');
  // Seen while it grows.
  await page.waitForFunction(() => document.querySelector('[data-sample="0"] .answer')?.textContent.length > 20 && document.querySelector('[aria-busy="true"]'));
  gate.open();
  await done(page);
  const request = { model: MODEL, messages: [{ role: 'user', content: 'Count from one to thirty.' }], temperature: 0, max_tokens: 40, seed: 7, ignore_eos: true, reasoning_language: 'es' };
  const whole = await server.post('/v1/chat/completions', request);
  assert.equal(await answer(page).textContent(), whole.choices[0].message.content);
  await page.getByText(/Follows: Spanish|Does not follow: Spanish/).waitFor();
  await page.getByLabel('n', { exact: true }).fill('3');
  await page.getByLabel('n', { exact: true }).blur();
  assert.match(page.url(), /n=3/);
  await close(page);
});

test('a script in an answer does not run', async () => {
  const attack = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script> $\\href{javascript:window.pwned=1}{x}$ \\boxed{<b onclick=1>}';
  const page = await open(browser, playground({ extra: answering(attack), max_tokens: '200', colours: 'true' }));
  await ask(page, 'Say it.');
  await done(page);
  assert.ok((await answer(page).textContent()).includes('<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'));
  await page.locator('.katex').first().waitFor();
  assert.equal(await page.evaluate(() => window.pwned), undefined);
  const held = page.locator('[data-sample]');
  assert.equal(await held.locator('img, script, b, a').count(), 0);
  await close(page);
});

test('a formula neither covers what is around its answer nor takes its clicks', async () => {
  const rule = '$\\smash{\\rlap{\\textcolor{white}{\\rule[6em]{20em}{9em}}}}$ $\\rlap{\\kern20em\\kern20em\\kern16em x}$ \\boxed{\\smash{\\rule[6em]{9em}{9em}}}';
  const page = await open(browser, playground({ extra: answering(rule), max_tokens: '400' }));
  await ask(page, 'Say it.');
  await done(page);
  await page.locator('.facts .katex-rule').first().waitFor({ state: 'attached' });
  const taken = await page.evaluate(() => {
    const isIn = ({ left, right, top, bottom }, { x, y }) => x > left && x < right && y > top && y < bottom;
    const drawn = [...document.querySelectorAll('.katex-rule, .rlap .katex-inner')].flatMap((part) => {
      const { left, right, top, height } = part.getBoundingClientRect();
      return [left + 2, right - 1].map((x) => ({ text: part.closest('.model-text'), x, y: top + height / 2 }));
    });
    const outside = drawn.filter((point) => !isIn(point.text.getBoundingClientRect(), point));
    return { outside: outside.length, taken: outside.filter(({ text, x, y }) => text.contains(document.elementFromPoint(x, y))).length };
  });
  assert.ok(taken.outside >= 5, JSON.stringify(taken));
  assert.equal(taken.taken, 0);
  await close(page);
});

test('markup that another script would insert is refused', async () => {
  const page = await open(browser, playground({}));
  const outcome = await page.evaluate(() => {
    try {
      document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.pwned=1">');
      return 'inserted';
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(outcome, 'TypeError');
  page.troubles.length = 0; // the refusal itself
  await close(page);
});

test('n answers are cards with what they boxed, formulas are typeset', async () => {
  const page = await open(browser, playground({ n: '3', max_tokens: '60', extra: answering('So \\(x^2 = 16\\), thus \\boxed{\\frac{8}{2}}. It costs $5 or $6.') }));
  await ask(page, 'How many?');
  await done(page);
  assert.equal(await page.locator('[data-sample]').count(), 3);
  assert.equal(await page.getByText('Boxed answer:').count(), 3);
  await page.locator('[data-sample="2"] .katex').first().waitFor();
  assert.ok((await answer(page, 2).textContent()).includes('It costs $5 or $6.'));
  await page.getByRole('radio', { name: 'Answer 2' }).check();
  await close(page);
});

test('a formula is typeset once, and the keyboard stays at the button', async () => {
  const page = await open(browser, playground({ max_tokens: '100', extra: answering('So \\(x^2\\) and then more words come.') }, gate));
  gate.hold((events) => said(events).includes('and then'));
  await page.getByLabel('Message', { exact: true }).fill('How many?');
  await pressEnter(page, page.getByRole('button', { name: 'Send' }));
  await page.locator('[data-sample="0"] .katex').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Stop');
  await page.evaluate(() => (window.first = document.querySelector('[data-sample="0"] .katex')));
  gate.open();
  await done(page);
  assert.ok(await page.evaluate(() => window.first === document.querySelector('[data-sample="0"] .katex')));
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Send');
  await close(page);
});

test('tokens show their probabilities to pointer and keyboard', async () => {
  const page = await open(browser, playground({ logprobs: 'true', max_tokens: '12', temperature: '0' }));
  await ask(page, 'Name a colour.');
  await done(page);
  await page.getByRole('button', { name: 'Tokens' }).click();
  const tokens = page.locator('.tokens');
  await tokens.locator('[data-at="2"]').hover();
  await page.locator('.tokens .current[data-at="2"]').waitFor();
  await tokens.focus();
  await page.keyboard.press('ArrowRight');
  await page.locator('.tokens .current[data-at="3"]').waitFor();
  assert.match(await page.locator('.one').textContent(), /log-probability/);
  assert.equal(await page.locator('.one li').count(), 5);
  await close(page);
});

test('two languages side by side', async () => {
  const page = await open(browser, playground({ columns: '2', language: 'ja', language2: 'sw', max_tokens: '10', colours: 'true' }));
  await ask(page, 'What is 2 + 3?');
  await page.getByText('Done').nth(1).waitFor();
  assert.equal(await page.locator('[data-sample]').count(), 2);
  await page.getByText(/follow: Japanese|Follows: Japanese/i).waitFor();
  await page.getByText(/follow: Swahili|Follows: Swahili/i).waitFor();
  await close(page);
});

test('another language of the interface leaves what was filled in, and translates the rest', async () => {
  const page = await open(browser, playground({}));
  const languages = page.locator('header select').first();
  const switchTo = async (code) => {
    await languages.selectOption(code);
    await page.waitForFunction((code) => document.documentElement.lang === code, code);
  };
  await page.getByLabel('Message', { exact: true }).fill('Half a question');
  await switchTo('es');
  assert.equal(await page.locator('.composer textarea').inputValue(), 'Half a question');
  await page.getByRole('heading', { name: 'Ajustes' }).waitFor();
  await page.goto(`${server.url}/#/evaluations/new`);
  await page.getByLabel('Problemas por idioma').fill('3');
  await page.getByLabel('Nombre', { exact: true }).fill('Half a run');
  await page.locator('.chip input').first().check();
  await switchTo('en');
  assert.equal(await page.getByLabel(/^Problems a language/).inputValue(), '3');
  assert.equal(await page.getByLabel('Name', { exact: true }).inputValue(), 'Half a run');
  assert.ok(await page.locator('.chip input').first().isChecked());
  await switchTo('ar');
  assert.equal(await page.evaluate(() => document.documentElement.dir), 'rtl');
  assert.equal(await page.locator('.fields input[maxlength]').inputValue(), 'Half a run');
  await close(page);
});

test('an answer outlives the server that began it', async () => {
  const query = { max_tokens: '60', temperature: '0.7', seed: '11', extra: '{"ignore_eos": true}' };
  const page = await open(browser, playground(query, gate));
  gate.hold((events) => said(events).length > 40);
  await ask(page, 'Tell a long story.');
  await page.waitForFunction(() => (document.querySelector('[data-sample="0"] .answer')?.textContent.length ?? 0) > 40);
  const before = await answer(page).textContent();
  await server.kill();
  gate.cut();
  await page.getByText('The server does not answer').waitFor();
  await page.getByText('Waiting for the server').waitFor();
  assert.ok((await answer(page).textContent()).startsWith(before), 'what was there stays');
  await server.resume();
  await done(page);
  const request = { model: MODEL, messages: [{ role: 'user', content: 'Tell a long story.' }], max_tokens: 60, temperature: 0.7, seed: 11, ignore_eos: true };
  const whole = await server.post('/v1/chat/completions', request);
  assert.equal(await answer(page).textContent(), whole.choices[0].message.content);
  assert.equal(await page.getByText('The server does not answer').count(), 0);
  await close(page);
});

test('the server view shows the engine at work', async () => {
  const page = await open(browser, `${server.url}/#/server`);
  await page.getByRole('heading', { name: MODEL }).waitFor();
  await page.locator('canvas').waitFor();
  await page.getByText('GB free').or(page.getByText('MB free')).first().waitFor();
  assert.equal(await page.getByRole('heading', { name: 'Load', exact: true }).count(), 0, 'no admin, no forms');
  await close(page);
});

test('a key that is good no more is told of and forgotten, and who signs out leaves nothing behind', async () => {
  const keyed = await Server.start('--api-key', 'sk-old');
  try {
    const page = await open(browser, `${keyed.url}/#/playground?system=A+secret`);
    const signIn = async (key, keep) => {
      await page.getByLabel('API key').fill(key);
      await page.getByLabel('Keep it').setChecked(keep);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByRole('heading', { name: 'Playground' }).waitFor();
    };
    const kept = () => page.evaluate(() => sessionStorage.getItem('xenoglot.key'));
    await page.getByLabel('API key').waitFor();
    assert.equal(await page.getByRole('alert').count(), 0, 'who has tried no key did nothing wrong');
    await signIn('sk-old', true);
    assert.equal(await kept(), 'sk-old');
    await keyed.kill();
    keyed.options = ['--api-key', 'sk-new'];
    await keyed.resume();
    await page.reload();
    await page.getByRole('alert').getByText('the API key is wrong').waitFor();
    assert.equal(await kept(), null);
    await signIn('sk-new', false);
    assert.equal(await kept(), null);

    // While the page is open, and waits for nothing that would tell it before it asks.
    await page.locator('option', { hasText: MODEL }).first().waitFor({ state: 'attached' });
    await keyed.kill();
    keyed.options = ['--api-key', 'sk-newest'];
    await keyed.resume();
    await ask(page, 'Is it still good?');
    await page.getByRole('alert').getByText('the API key is wrong').waitFor();
    await signIn('sk-newest', true);
    assert.equal(await page.getByLabel('System message').inputValue(), 'A secret');
    await page.getByRole('button', { name: /Sign out/ }).click();
    await page.getByLabel('API key').waitFor();
    assert.equal(await page.getByRole('alert').count(), 0);
    await signIn('sk-newest', false);
    assert.equal(await page.getByLabel('System message').inputValue(), '');
    assert.ok(!page.url().includes('secret'));
    assert.ok(!(await page.getByRole('link', { name: 'Playground' }).getAttribute('href')).includes('secret'));
    await close(page);
  } finally {
    await keyed.stop();
  }
});

test('keys open what they open', async () => {
  const keyed = await Server.start('--api-key', 'sk-use', '--admin-key', 'sk-admin');
  try {
    const page = await open(browser, keyed.url);
    const signIn = async (key, keep) => {
      await page.getByLabel('API key').fill(key);
      await page.getByLabel('Keep it').setChecked(keep);
      await page.getByRole('button', { name: 'Sign in' }).click();
    };
    await signIn('sk-wrong', false);
    await page.getByText('the API key is wrong').waitFor();
    await page.getByLabel('API key').fill('sk-ключ');
    await page.getByText('A key has no spaces').waitFor();
    await signIn('sk-use', false);
    await page.getByRole('heading', { name: 'Playground' }).waitFor();
    await page.reload();
    await page.getByLabel('API key').waitFor();
    await signIn('sk-use', true);
    await page.getByRole('heading', { name: 'Playground' }).waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'Playground' }).waitFor();
    assert.equal(await page.evaluate(() => Object.values(localStorage).includes('sk-use')), false);
    // What was asked under a key goes with it, and what still comes ends.
    await page.goto(`${keyed.url}/#/playground?${new URLSearchParams({ max_tokens: '1000', extra: '{"ignore_eos": true}' })}`);
    await ask(page, 'A secret.');
    await page.waitForFunction(() => document.querySelector('[data-sample="0"] .answer')?.textContent);
    await page.getByRole('button', { name: /Sign out/ }).click();
    await page.getByLabel('API key').waitFor();
    await signIn('sk-use', false);
    await page.getByText('Nothing was asked yet.').waitFor();
    assert.equal(await page.getByText('A secret.').count(), 0);
    await keyed.idle('sk-admin');
    await page.getByRole('button', { name: /Sign out/ }).click();
    await page.getByLabel('API key').waitFor();

    await page.goto(`${keyed.url}/#/server`);
    await signIn('sk-admin', false);
    const own = page.locator('section').filter({ has: page.getByRole('heading', { name: 'This key' }) });
    for (const fact of ['administration', 'all', 'never']) await own.getByText(fact).waitFor();
    const row = page.getByRole('region', { name: 'Keys' }).getByRole('row').filter({ hasText: 'api_keys' });
    assert.deepEqual((await row.getByRole('cell').allTextContents()).slice(0, 4), ['inference', 'all', 'none', 'never']);
    assert.match(await row.getByRole('cell').nth(4).textContent(), /^[1-9]/);
    const form = page.locator('form').filter({ hasText: 'Load a model' });
    await form.getByLabel('Name to serve it under').fill('second');
    await form.getByLabel('Folder below').fill(MODEL);
    await form.getByRole('button', { name: 'Load a model' }).click();
    await page.getByRole('heading', { name: 'second' }).waitFor();
    // By keyboard: what takes a button's place has the focus.
    const focused = () => page.evaluate(() => document.activeElement.ariaLabel ?? document.activeElement.textContent);
    await pressEnter(page, page.getByRole('button', { name: 'Unload second' }));
    await pressEnter(page, page.getByRole('button', { name: 'Keep' }));
    assert.equal(await focused(), 'Unload second');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'Unload second now');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'Models and adapters');
    await page.getByRole('heading', { name: 'second' }).waitFor({ state: 'detached' });
    // Without any model, what is empty says so.
    await pressEnter(page, page.getByRole('button', { name: `Unload ${MODEL}` }));
    await page.keyboard.press('Enter');
    await page.getByRole('region', { name: 'Models and adapters' }).getByText('No model is loaded.').waitFor();
    await page.getByRole('link', { name: 'Playground' }).click();
    await page.getByRole('note').getByText('No model is loaded').waitFor();
    assert.ok(await page.getByRole('note').evaluate((note) => note.getBoundingClientRect().bottom < document.querySelector('.composer').getBoundingClientRect().top));
    await close(page);
  } finally {
    await keyed.stop();
  }
});
