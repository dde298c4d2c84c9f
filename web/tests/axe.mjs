// axe-core on a page as it is: in both themes, in English and in Arabic, wide and on a phone.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export async function checkAccessible(page, name) {
  for (const [code, theme, width] of [['en', 'light', 1280], ['en', 'dark', 1280], ['ar', 'light', 390], ['ar', 'dark', 1280]]) {
    await page.setViewportSize({ width, height: 900 });
    await page.locator('header select').nth(0).selectOption(code);
    await page.locator('header select').nth(1).selectOption(theme);
    await page.waitForFunction((code) => document.documentElement.lang === code, code);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    const told = serious.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('\n')}`);
    assert.deepEqual(told, [], `${name} ${code} ${theme}`);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(overflow <= 0, `${name} ${code} is ${overflow} px too wide for ${width}`);
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.locator('header select').nth(0).selectOption('en');
}
