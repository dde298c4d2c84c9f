// The words of the interface: the same keys and places in every language, and none that the page asks for missing.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

const source = new URL('../src/', import.meta.url);
const languages = readdirSync(new URL('locales/', source));
const areas = readdirSync(new URL('locales/en/', source));
const catalogue = (language, area) => JSON.parse(readFileSync(new URL(`locales/${language}/${area}`, source), 'utf8'));
const places = (text) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();

test('every language has the same keys, places and areas', () => {
  assert.ok(languages.length >= 5);
  for (const language of languages) {
    assert.deepEqual(readdirSync(new URL(`locales/${language}/`, source)), areas, language);
    for (const area of areas) {
      const [base, other] = [catalogue('en', area), catalogue(language, area)];
      assert.deepEqual(Object.keys(other).sort(), Object.keys(base).sort(), `${language}/${area}`);
      for (const [key, text] of Object.entries(other)) {
        assert.notEqual(text.trim(), '', `${language}/${area} ${key}`);
        assert.deepEqual(places(text), places(base[key]), `${language}/${area} ${key}`);
      }
    }
  }
});

test('every word that the page asks for is there', () => {
  const files = readdirSync(source, { recursive: true }).filter((name) => /\.(svelte|ts)$/.test(name));
  const known = new Set(areas.flatMap((area) => Object.keys(catalogue('en', area)).map((key) => `${area.replace('.json', '')}.${key}`)));
  for (const file of files) {
    const text = readFileSync(new URL(file, source), 'utf8');
    const prefixes = areas.map((area) => area.replace('.json', '')).join('|');
    for (const [, key] of text.matchAll(new RegExp(`'((?:${prefixes})\\.\\w+)'`, 'g'))) assert.ok(known.has(key), `${file}: ${key}`);
  }
});
