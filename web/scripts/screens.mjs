// Pictures of every view for the documentation, light and dark: `node scripts/screens.mjs [folder]` after a build. They are looked at
// before they are committed.
import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { close, launch, open } from '../tests/browser.mjs';
import { MODEL, Server } from '../tests/server.mjs';

const folder = resolve(process.argv[2] ?? resolve(import.meta.dirname, '../../docs/screens'));
mkdirSync(folder, { recursive: true });

const answers = (...texts) => JSON.stringify({ structured_outputs: { choice: texts } });
const mixed = '12 − 5 = 7 なので、残りは7個です。 So seven apples are left, which we can check: $5 + 7 = 12$. 答えは \\boxed{7} です。';
const playground = (query) => `/#/playground?${new URLSearchParams(query)}`;
const shots = [
  { name: 'sign-in', path: '/', key: null },
  { name: 'playground', path: playground({ language: 'ja', n: '2', colours: 'true', max_tokens: '140', temperature: '0.6', extra: answers(mixed) }), ask: 'りんごが12個あります。5個食べました。残りは何個ですか。' },
  { name: 'side-by-side', path: playground({ columns: '2', language: 'es', language2: 'sw', colours: 'true', logprobs: 'true', max_tokens: '40', temperature: '0', seed: '1' }), ask: 'What is 12 − 5?', tokens: true },
  { name: 'playground-ar', path: playground({ language: 'ar', colours: 'true', max_tokens: '120', extra: answers('لدينا ١٢ تفاحة وأكلنا ٥، إذن يبقى $12 - 5 = 7$ تفاحات. الجواب هو \\boxed{٧}') }), ask: 'عندي ١٢ تفاحة وأكلت ٥. كم بقي؟', language: 'ar' },
  { name: 'phone', path: playground({ language: 'th', colours: 'true', max_tokens: '200', extra: answers('มีแอปเปิล 12 ผล กินไป 5 ผล เหลือ $12 - 5 = 7$ ผล คำตอบคือ \\boxed{7}') }), ask: 'มีแอปเปิล 12 ผล กินไป 5 ผล เหลือกี่ผล', language: 'th', width: 390 },
  { name: 'server', path: '/#/server', wait: 11_000 },
];

const [browser, server] = await Promise.all([launch(), Server.start('--api-key', 'sk-use', '--admin-key', 'sk-admin')]);
for (const theme of ['light', 'dark']) {
  for (const { name, path, key = 'sk-admin', ask, tokens, language, width = 1180, wait = 300 } of shots) {
    const page = await open(browser, server.url, { colorScheme: theme, viewport: { width, height: 780 }, locale: language ?? 'en' });
    if (key) await page.evaluate((key) => sessionStorage.setItem('xenoglot.key', key), key);
    await page.goto(server.url + path);
    await page.reload();
    if (ask) {
      await page.locator('.composer textarea').fill(ask);
      await page.locator('.composer button.primary').click();
      await page.waitForFunction(() => document.querySelector('[data-sample]') && !document.querySelector('[aria-busy=true]'));
    }
    if (tokens) await page.locator('[data-sample] button').first().click();
    if (name === 'server') await server.post('/v1/chat/completions', { model: MODEL, messages: [{ role: 'user', content: 'Tell a story.' }], max_tokens: 120 }, 'sk-admin');
    await page.waitForTimeout(wait);
    await page.screenshot({ path: resolve(folder, `${name}-${theme}.png`), fullPage: name === 'server' });
    await close(page);
  }
}
await browser.close();
await server.stop();
