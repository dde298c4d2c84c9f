// The part of YAML that the merges' form writes, and a reader of as much: block mappings and sequences, plain and quoted scalars on
// one line, flow sequences and mappings. What else a text has (comments, anchors, texts of several lines) is no error of the text: the server
// reads all of it, the form does not.

export type Value = string | number | boolean | null | Value[] | { [key: string]: Value };

/** What the reader does not know, with its line from 1. */
export class Unread extends Error {
  constructor(readonly line: number) {
    super(`line ${line}`);
  }
}

export function writeYaml(value: { [key: string]: Value }): string {
  return block(value, '');
}

function block(value: Value, indent: string): string {
  if (Array.isArray(value)) {
    return value.map((item) => `${indent}- ${isNested(item) ? block(item, `${indent}  `).slice(indent.length + 2) : `${inline(item)}\n`}`).join('');
  }
  return Object.entries(value as { [key: string]: Value })
    .map(([key, inner]) => `${indent}${inline(key)}:${isNested(inner) ? `\n${block(inner, `${indent}  `)}` : ` ${inline(inner)}\n`}`)
    .join('');
}

/** On lines of its own: mappings, and lists of them. Lists of numbers stand on one line. */
function isNested(value: Value): value is Value[] | { [key: string]: Value } {
  if (Array.isArray(value)) return value.some((item) => typeof item === 'object' && item !== null);
  return typeof value === 'object' && value !== null && Object.keys(value).length > 0;
}

function inline(value: Value): string {
  if (Array.isArray(value)) return `[${value.map(inline).join(', ')}]`;
  if (typeof value === 'object' && value !== null) return '{}';
  if (typeof value !== 'string') return String(value);
  // A text that would be read as something else, or that has signs of YAML's, is quoted as JSON has it.
  return /^[A-Za-z_][\w./+-]*(@[\w./-]+)?$/.test(value) && typeof scalar(value) === 'string' ? value : JSON.stringify(value);
}

interface Line {
  number: number;
  indent: number;
  text: string;
}

export function readYaml(text: string): Value {
  const lines: Line[] = text.split('\n').flatMap((line, at) => {
    if (line.trim() === '') return [];
    const body = line.trimStart();
    if (/^[#%&*!|>?]|^---|^\.\.\.|^ *\t/.test(body) || line.slice(0, line.length - body.length).includes('\t')) throw new Unread(at + 1);
    return [{ number: at + 1, indent: line.length - body.length, text: body.trimEnd() }];
  });
  if (lines.length === 0) return null;
  const reader = new Reader(lines);
  const value = reader.value(lines[0]!.indent);
  reader.expectEnd();
  return value;
}

const KEY = /^("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'[\]{},&*!|>%@`#:-][^:#"'[\]{},]*?|-?[\w.]+):(?: +(.*))?$/;

class Reader {
  #at = 0;
  constructor(readonly lines: Line[]) {}

  expectEnd(): void {
    if (this.#line) throw new Unread(this.#line.number);
  }

  get #line(): Line | undefined {
    return this.lines[this.#at];
  }

  /** The block that begins at this line and indent. */
  value(indent: number): Value {
    const line = this.#line!;
    if (isItem(line.text)) return this.#sequence(indent);
    if (KEY.test(line.text)) return this.#mapping(indent);
    this.#at++;
    return flow(line.text, line.number);
  }

  #sequence(indent: number): Value[] {
    const items: Value[] = [];
    for (let line = this.#line; line && line.indent === indent && isItem(line.text); line = this.#line) {
      const rest = line.text.slice(1).trimStart();
      if (rest === '') {
        this.#at++;
        items.push(this.#below(indent + 1));
        continue;
      }
      // `- key: value` is a mapping that begins where its key does.
      const inner = indent + line.text.length - rest.length;
      this.lines[this.#at] = { ...line, indent: inner, text: rest };
      items.push(this.value(inner));
    }
    // What stands as far left is a key of the mapping around it, which looks at it.
    if (this.#line && this.#line.indent > indent) throw new Unread(this.#line.number);
    return items;
  }

  #mapping(indent: number): Value {
    const values = new Map<string, Value>();
    for (let line = this.#line; line && line.indent === indent; line = this.#line) {
      const found = KEY.exec(line.text);
      if (!found) break;
      const key = String(scalar(found[1]!.trim(), line.number, true));
      if (values.has(key)) throw new Unread(line.number);
      this.#at++;
      const rest = found[2] ?? '';
      const next = this.#line;
      // A sequence may stand as far left as its key.
      const below = next && (next.indent > indent || (next.indent === indent && isItem(next.text)));
      values.set(key, rest !== '' ? flow(rest, line.number) : below ? this.value(next.indent) : null);
    }
    const after = this.#line;
    if (after && (after.indent > indent || (after.indent === indent && !isItem(after.text)))) throw new Unread(after.number);
    return Object.fromEntries(values);
  }

  #below(least: number): Value {
    const next = this.#line;
    return next && next.indent >= least ? this.value(next.indent) : null;
  }
}

const isItem = (text: string) => text === '-' || text.startsWith('- ');

/** A value on one line. */
function flow(text: string, line: number): Value {
  let at = 0;
  const skip = () => {
    while (text[at] === ' ') at++;
  };
  const until = (ends: string) => {
    const start = at;
    while (at < text.length && !ends.includes(text[at]!)) at++;
    return text.slice(start, at).trim();
  };
  const quotedText = () => {
    const found = /^(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')/.exec(text.slice(at));
    if (!found) throw new Unread(line);
    at += found[0].length;
    return scalar(found[0], line);
  };
  const element = (ends: string): Value => {
    skip();
    if (text[at] === '[') {
      at++;
      const items: Value[] = [];
      for (skip(); text[at] !== ']'; skip()) {
        items.push(element(',]'));
        skip();
        if (text[at] === ',') at++;
        else if (text[at] !== ']') throw new Unread(line);
      }
      at++;
      return items;
    }
    if (text[at] === '{') {
      at++;
      const entries: [string, Value][] = [];
      for (skip(); text[at] !== '}'; skip()) {
        const key = String(text[at] === '"' || text[at] === "'" ? quotedText() : until(':,}'));
        skip();
        if (text[at] !== ':') throw new Unread(line);
        at++;
        entries.push([key, element(',}')]);
        skip();
        if (text[at] === ',') at++;
        else if (text[at] !== '}') throw new Unread(line);
      }
      at++;
      return Object.fromEntries(entries);
    }
    if (text[at] === '"' || text[at] === "'") return quotedText();
    return scalar(until(ends), line);
  };
  const value = element('');
  skip();
  if (at < text.length) throw new Unread(line);
  return value;
}

function scalar(text: string, line = 0, isKey = false): Value {
  if (text.startsWith('"')) {
    try {
      return JSON.parse(text) as string;
    } catch {
      throw new Unread(line);
    }
  }
  if (text.startsWith("'")) return text.slice(1, -1).replaceAll("''", "'");
  if (/^[&*!|>%@`#]|[ \t]#|: |[[\]{}]/.test(text)) throw new Unread(line);
  if (isKey) return text;
  if (/^(true|True|TRUE)$/.test(text)) return true;
  if (/^(false|False|FALSE)$/.test(text)) return false;
  if (/^(~|null|Null|NULL)?$/.test(text)) return null;
  if (/^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/.test(text)) return Number(text);
  return text;
}
