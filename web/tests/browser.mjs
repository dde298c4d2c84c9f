// Chromium without a window, and a page that fails its test when a script throws, the policy refuses something or another host is asked.
import assert from 'node:assert/strict';
import { chromium } from 'playwright-core';

export function launch() {
  // CI runs as root in a container, where Chromium's own sandbox does not start.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });
}

export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ locale: 'en', viewport: { width: 1280, height: 900 }, reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  // A machine that has much else to do may have more.
  page.setDefaultTimeout(Number(process.env.WEB_TEST_TIMEOUT_MS ?? 15_000));
  page.troubles = [];
  page.on('pageerror', (error) => page.troubles.push(String(error)));
  page.on('console', (message) => {
    // A server that was killed, and answers that are errors, are part of some tests.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) page.troubles.push(message.text());
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(new URL(url).origin)) page.troubles.push(`asked ${request.url()}`);
  });
  await slowDown(page, Number(process.env.WEB_TEST_SLOWNESS ?? 1));
  await page.goto(url);
  return page;
}

/** A slow machine is played where `WEB_TEST_SLOWNESS=4` asks for it: a fourth of the processor, and requests that wait up to 400 ms. */
async function slowDown(page, slowness) {
  if (slowness <= 1) return;
  const session = await page.context().newCDPSession(page);
  await session.send('Emulation.setCPUThrottlingRate', { rate: slowness });
  await page.route('**', async (route) => {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * slowness * 100));
    await route.continue().catch(() => {}); // the page may be gone
  });
}

/** A button has the focus and is pressed by keyboard, which unlike a click does not wait until it may be pressed. */
export async function pressEnter(page, button) {
  await button.and(page.locator(':not(:disabled, [aria-disabled="true"])')).waitFor();
  await button.focus();
  await page.keyboard.press('Enter');
}

export async function close(page) {
  assert.deepEqual(page.troubles, []);
  await page.context().close();
}
