// Conversations with the models, a column each. They stay while the page is open, whichever view is shown.
import { chat, type ChatMessage } from '../../api/chat';
import type { Schema } from '../../api/types';
import { onLeaving } from '../../session.svelte';
import { chatRequest } from './settings';

export type Token = Schema<'ChatTokenLogprob'>;

/** More than a server's own limit is refused by it; the page makes no more cards than these meanwhile. */
const SAMPLES_MAX = 128;

interface Answer {
  reasoning: string;
  content: string;
  tokens: Token[];
}
const nothing = (): Answer => ({ reasoning: '', content: '', tokens: [] });

/** One of the n answers to a question. */
export class Sample {
  finish = $state<string | null>(null);
  report = $state.raw<Schema<'LanguageReport'> | null>(null);
  /** All that has come; the page sees it a frame later at most. */
  #arrived = nothing();
  #seen = $state.raw(nothing());
  /** What was there when the connection broke: shown until as much has come again. */
  #kept = $state.raw(nothing());
  #frame = 0;

  get shown(): Answer {
    const longer = <T extends { length: number }>(now: T, kept: T) => (now.length < kept.length ? kept : now);
    const [now, kept] = [this.#seen, this.#kept];
    return {
      reasoning: longer(now.reasoning, kept.reasoning),
      content: longer(now.content, kept.content),
      tokens: longer(now.tokens, kept.tokens),
    };
  }

  again(): void {
    this.show();
    this.#kept = this.shown;
    this.#arrived = nothing();
    this.show();
  }

  take(choice: Schema<'ChatChunkChoice'>): void {
    this.#arrived.reasoning += choice.delta.reasoning_content ?? '';
    this.#arrived.content += choice.delta.content ?? '';
    this.#arrived.tokens.push(...(choice.logprobs?.content ?? []));
    if (choice.language) this.report = choice.language;
    if (choice.finish_reason) {
      this.finish = choice.finish_reason;
      this.#kept = nothing();
      this.show();
    } else {
      // Tokens come faster than a screen shows them.
      this.#frame ||= requestAnimationFrame(() => this.show());
    }
  }

  /** Also where no frame comes: in a tab that nobody sees. */
  show(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { reasoning, content, tokens } = this.#arrived;
    const hasMore = tokens.length !== this.#seen.tokens.length;
    this.#seen = { reasoning, content, tokens: hasMore ? [...tokens] : this.#seen.tokens };
  }
}

/** A question with its answers. */
export class Turn {
  samples = $state<Sample[]>([]);
  /** Which of them the conversation goes on from. */
  chosen = $state(0);
  status = $state<'running' | 'waiting' | 'done' | 'failed' | 'stopped'>('running');
  error = $state('');
  tokensPerSecond = $state<number | null>(null);
  usage = $state.raw<Schema<'Usage'> | null>(null);

  constructor(
    readonly question: string,
    readonly model: string,
    readonly language: string,
    readonly seed: number,
    n: number,
  ) {
    const count = Math.min(Math.max(Math.trunc(n) || 1, 1), SAMPLES_MAX);
    this.samples = Array.from({ length: count }, () => new Sample());
  }

  get isOver(): boolean {
    return this.status !== 'running' && this.status !== 'waiting';
  }
}

export class Conversation {
  turns = $state<Turn[]>([]);
  #abort: AbortController | null = null;

  get isBusy(): boolean {
    return this.turns.at(-1)?.isOver === false;
  }

  /** Asks, and takes the answer in as it comes. */
  async ask(question: string, model: string, language: string, query: Record<string, string>): Promise<void> {
    const messages = [...this.#history(), { role: 'user', content: question }];
    const request = chatRequest({ model, language, messages, query });
    this.turns.push(new Turn(question, model, language, request.seed, Number(request.n ?? 1)));
    const turn = this.turns.at(-1)!;
    const abort = (this.#abort = new AbortController());
    let began: number | null = null;
    try {
      for await (const event of chat(request, abort.signal)) {
        if (event === 'again') {
          turn.status = 'running';
          turn.samples.forEach((sample) => sample.again());
          began = null;
          continue;
        }
        if (event.choices.length > 0) began ??= performance.now();
        for (const choice of event.choices) turn.samples[choice.index]?.take(choice);
        if (event.language && turn.samples[0]) turn.samples[0].report = event.language;
        if (event.usage) turn.usage = event.usage;
      }
      const seconds = (performance.now() - (began ?? performance.now())) / 1000;
      const tokens = (turn.usage?.completion_tokens ?? 0) - 1;
      turn.tokensPerSecond = seconds > 0 && tokens > 0 ? tokens / seconds : null;
      turn.status = 'done';
    } catch (error) {
      turn.status = abort.signal.aborted ? 'stopped' : 'failed';
      turn.error = abort.signal.aborted ? '' : error instanceof Error ? error.message : String(error);
    } finally {
      turn.samples.forEach((sample) => sample.show());
    }
  }

  stop(): void {
    this.#abort?.abort();
  }

  clear(): void {
    this.stop();
    this.turns = [];
  }

  #history(): ChatMessage[] {
    return this.turns.flatMap((turn) => {
      const answer = turn.samples[turn.chosen]?.shown.content;
      if (!answer) return [];
      return [
        { role: 'user', content: turn.question },
        { role: 'assistant', content: answer },
      ];
    });
  }
}

/** Side by side. */
export const columns = [new Conversation(), new Conversation()] as const;
onLeaving(() => columns.forEach((column) => column.clear()));
