// A tiny suite of a test's own, where its server finds it: what a model reads and begins its trace with is chosen, so that it is known.
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** `languages`: by code, the problems `{id, problem, answer}` and what a trace begins with. */
export function writeSuite(server, name, languages) {
  const folder = join(server.folder, 'eval-suites', name);
  mkdirSync(folder, { recursive: true });
  const digests = [];
  const prompts = [];
  for (const [code, { problems, prefix }] of Object.entries(languages)) {
    const text = problems.map((problem) => `${JSON.stringify(problem)}\n`).join('');
    writeFileSync(join(folder, `${code}.jsonl`), text);
    digests.push(`"${code}.jsonl" = "${createHash('sha256').update(text).digest('hex')}"`);
    prompts.push(`[prompts.${code}]\nuser = "{problem}"${prefix ? `\nthinking_prefix = ${JSON.stringify(prefix)}` : ''}`);
  }
  const codes = Object.keys(languages).map((code) => `"${code}"`).join(', ');
  const head = `name = "${name}"\nversion = "1"\ndescription = "Sums."\nlicence = "Apache-2.0"\nrevision = "1"\ntask = "math"\nlanguages = [${codes}]\nfile = "{language}.jsonl"`;
  writeFileSync(join(folder, 'suite.toml'), `${head}\n\n[sha256]\n${digests.join('\n')}\n\n${prompts.join('\n\n')}\n`);
}

export const ATTACK = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script> $\\href{javascript:window.pwned=1}{x}$';

/** The same sums in two languages, one of whose traces change their language, the text of somebody who means harm, and one long trace. */
export function writeSums(server) {
  const sums = Array.from({ length: 12 }, (_, at) => ({ id: `s${String(at + 1).padStart(2, '0')}`, problem: `${at + 2} + 3 = ?`, answer: String(at + 5) }));
  const hostile = { id: '<b>x</b>', problem: `${ATTACK} 1 + 1 = ?`, answer: '2' };
  writeSuite(server, 'sums', {
    en: { problems: [...sums, hostile], prefix: `Let me add the two numbers. ${ATTACK} So $2 + 3 = 5$.` },
    ja: { problems: sums, prefix: '二つの数を足します。 So I add the two numbers together in English now. 答えは $2 + 3 = 5$ です。' },
    es: { problems: sums.slice(0, 1), prefix: `Sumo los dos números.${'\n'.repeat(40)}El resultado es $2 + 3 = 5$.` },
  });
}
