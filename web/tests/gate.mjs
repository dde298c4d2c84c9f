// A way to the server on which a test holds an answer's stream where it wants to look, so that no test races the model.
import { createServer, request } from 'node:http';

export class Gate {
  #until = null;
  #waiting = new Set();

  static async before(server) {
    const gate = new Gate();
    gate.listener = createServer((asked, answered) => gate.#pass(server, asked, answered));
    await new Promise((resolve) => gate.listener.listen(0, '127.0.0.1', resolve));
    gate.url = `http://127.0.0.1:${gate.listener.address().port}`;
    return gate;
  }

  /** Streams that come stop behind the event with which what was sent of them first passes `until`. */
  hold(until) {
    this.#until = until;
  }

  /** What was held goes on, and nothing is held any more. */
  open() {
    this.#end(({ resolve }) => resolve());
  }

  /** What was held is lost, as with a connection that ends. */
  cut() {
    this.#end(({ reject }) => reject(new Error('cut')));
  }

  #end(how) {
    this.#until = null;
    this.#waiting.forEach(how);
    this.#waiting.clear();
  }

  close() {
    this.listener.closeAllConnections();
    this.listener.close();
  }

  #pass(server, asked, answered) {
    const { hostname, port } = new URL(server.url);
    const onward = request({ hostname, port, path: asked.url, method: asked.method, headers: asked.headers });
    // What ends on one side ends on the other: a killed server, a page that closes.
    onward.on('error', () => answered.destroy());
    answered.on('close', () => onward.destroy());
    onward.on('response', async (response) => {
      answered.writeHead(response.statusCode, response.headers);
      answered.flushHeaders();
      try {
        if (asked.method === 'POST' && response.headers['content-type']?.startsWith('text/event-stream')) await this.#stream(response, answered);
        else for await (const chunk of response) answered.write(chunk);
        answered.end();
      } catch {
        answered.destroy();
      }
    });
    asked.pipe(onward);
  }

  async #stream(response, answered) {
    let [rest, sent, held] = ['', '', null];
    response.setEncoding('utf8');
    for await (const chunk of response) {
      const events = (rest + chunk).split(/(?<=\n\n)/);
      rest = events.at(-1).endsWith('\n\n') ? '' : events.pop();
      for (const event of events) {
        await held;
        answered.write(event);
        sent += event;
        if (this.#until?.(sent)) held = new Promise((resolve, reject) => this.#waiting.add({ resolve, reject }));
        held?.catch(() => {});
      }
    }
    await held;
    answered.write(rest);
  }
}
