// How long a run's table of samples takes to open, scroll, filter and order: `bench/large-run` makes the run and calls this.
//   node scripts/large-run.mjs URL EVAL RUN ROUNDS
import { launch, open } from '../tests/browser.mjs';

const [url, of, run, rounds] = process.argv.slice(2);
const samples = `/evaluations/run/${of}/${run}/samples`;
const browser = await launch();
for (let round = 1; round <= Number(rounds); round++) {
  const page = await open(browser, `${url}/#/evaluations`);
  await page.locator('h1').waitFor();
  const opened = await page.evaluate(async (hash) => {
    const start = performance.now();
    location.hash = hash;
    while (document.querySelectorAll('[role=grid] [role=row]').length < 5) await new Promise(requestAnimationFrame);
    return performance.now() - start;
  }, samples);
  const told = await page.getByText(/of .* samples/).first().textContent();
  const asked = await page.evaluate(() => performance.getEntriesByType('resource').find(({ name }) => name.includes('sample_table'))?.duration);
  const frames = await page.evaluate(async () => {
    const grid = document.querySelector('[role=grid]');
    const times = [];
    for (let step = 0, last = performance.now(); step < 120; step++) {
      grid.scrollTop = (step * 25_000) % (grid.scrollHeight - grid.clientHeight);
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      times.push(now - last);
      last = now;
    }
    return times.sort((a, b) => a - b);
  });
  const filtered = await page.evaluate(async (hash) => {
    const told = () => [...document.querySelectorAll('[role=status]')].at(-1).textContent;
    const [start, before] = [performance.now(), told()];
    location.hash = `${hash}?outcome=wrong&order=-tokens`;
    while (told() === before) await new Promise(requestAnimationFrame);
    return performance.now() - start;
  }, samples);
  const ms = (time) => `${time.toFixed(time < 100 ? 1 : 0)} ms`;
  console.log(`round ${round}: ${told.trim()}; opened in ${ms(opened)} (${ms(asked)} of it the server's answer), frames of scrolling: median ${ms(frames[60])}, 95th of 100 ${ms(frames[114])}, worst ${ms(frames[119])}; filtered and ordered in ${ms(filtered)}`);
  await page.context().close();
}
await browser.close();
