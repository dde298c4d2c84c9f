// The real server with the real model, as a process of its own that tests may kill.
import { spawn } from 'node:child_process';
import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
export const binary = resolve(process.env.XENOGLOT ?? join(root, 'target/debug/xenoglot'));
const models = process.env.XENOGLOT_MODELS ? resolve(root, process.env.XENOGLOT_MODELS) : join(root, 'models');
export const MODEL = 'SmolLM2-135M-Instruct';
/** The same under another name, where a server has models of its own. */
export const SECOND = 'SmolLM2-second';

export class Server {
  static async start(...given) {
    const options = given.filter((option) => typeof option === 'string');
    const server = Object.assign(new Server(), ...given.filter((option) => typeof option === 'object'));
    server.port = await freePort();
    server.url = `http://127.0.0.1:${server.port}`;
    server.folder = mkdtempSync(join(tmpdir(), 'xenoglot-web-'));
    server.options = options;
    await server.resume();
    return server;
  }

  /** With a models directory of its own, into which it may write: the model is there twice, by links or copied. */
  static async startWithModels(...options) {
    const own = mkdtempSync(join(tmpdir(), 'xenoglot-models-'));
    for (const folder of [MODEL, SECOND]) {
      mkdirSync(join(own, folder));
      for (const name of readdirSync(join(models, MODEL))) {
        const [from, to] = [realpathSync(join(models, MODEL, name)), join(own, folder, name)];
        try {
          linkSync(from, to);
        } catch {
          copyFileSync(from, to);
        }
      }
    }
    return Server.start({ models: own }, ...options);
  }

  /** Also after a kill, on the same port. */
  async resume() {
    const known = ['--models-dir', this.models ?? models, '--store', `sqlite:${join(this.folder, 'store.db')}`, '--kv-cache-memory', '256MiB'];
    const args = ['serve', MODEL, '--port', String(this.port), ...known, ...this.options];
    this.process = spawn(binary, args, { cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    this.process.stderr.on('data', (text) => (said = (said + text).slice(-4000)));
    const gone = new Promise((_, reject) => {
      this.process.once('error', reject);
      this.process.once('exit', (code) => reject(new Error(`the server ended with ${code}\n${said}`)));
    });
    gone.catch(() => {});
    await Promise.race([gone, this.#ready()]);
  }

  async #ready() {
    for (;;) {
      const health = await fetch(`${this.url}/health`).catch(() => null);
      if (health?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async kill(signal = 'SIGKILL') {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.process.once('exit', resolve));
    this.process.kill(signal);
    await ended;
  }

  async stop() {
    await this.kill('SIGTERM');
    rmSync(this.folder, { recursive: true, force: true });
    if (this.models) rmSync(this.models, { recursive: true, force: true });
  }

  /** Until no request runs any more. */
  async idle(key) {
    for (;;) {
      const text = await (await fetch(`${this.url}/metrics`, { headers: { authorization: `Bearer ${key}` } })).text();
      if (/num_requests_running\{[^}]*\} 0$/m.test(text)) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Its engine stands still, or goes on: what runs is there to be looked at for as long as that takes. */
  async hold(still, key) {
    await this.post(still ? '/pause?mode=keep&clear_cache=false' : '/resume', undefined, key);
  }

  async post(path, body, key) {
    const headers = { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) };
    return (await fetch(this.url + path, { method: 'POST', headers, body: JSON.stringify(body) })).json();
  }
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
