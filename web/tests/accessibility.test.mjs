// axe-core finds nothing serious on any view, in both themes, in English and in Arabic, wide and on a phone.
import { after, before, test } from 'node:test';
import { checkAccessible } from './axe.mjs';
import { close, launch, open } from './browser.mjs';
import { Server } from './server.mjs';

let browser, server;
before(async () => {
  [browser, server] = await Promise.all([launch(), Server.start('--api-key', 'sk-use', '--admin-key', 'sk-admin')]);
});
after(async () => {
  await browser?.close();
  await server?.stop();
});

const extra = JSON.stringify({ structured_outputs: { choice: ['答えは $x^2$ です。 The rest is English, in a sentence. \\boxed{42}'] } });
const views = [
  { name: 'sign-in', path: '/', ready: (page) => page.locator('input[type=password]').waitFor() },
  { name: 'playground', path: `/#/playground?${new URLSearchParams({ extra, logprobs: 'true', colours: 'true', language: 'ja', n: '2', max_tokens: '60', columns: '2' })}`, key: true, ready: fill },
  { name: 'server', path: '/#/server', key: true, ready: (page) => page.locator('canvas').waitFor() },
  { name: 'nothing', path: '/#/nothing', key: true, ready: (page) => page.locator('[role=alert]').waitFor() },
];

/** A conversation, one of its answers as tokens. */
async function fill(page) {
  await page.locator('.composer textarea').fill('2 + 3?');
  await page.locator('.composer button.primary').click();
  await page.waitForFunction(() => document.querySelectorAll('[aria-busy=false]').length === 4);
  await page.locator('.language-1, .language-2, .language-3').first().waitFor();
  await page.locator('[data-sample="1"] button').first().click();
  await page.locator('.tokens').waitFor();
}

for (const view of views) {
  test(`${view.name} has no serious violation`, async () => {
    const page = await open(browser, server.url);
    if (view.key) await page.evaluate(() => sessionStorage.setItem('xenoglot.key', 'sk-admin'));
    await page.goto(server.url + view.path);
    await page.reload();
    await view.ready(page);
    await checkAccessible(page, view.name);
    await close(page);
  });
}
