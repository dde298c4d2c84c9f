// The views of the page. One more is a line here, a folder below views/ and a catalogue in each language (locales/*/<path>.json).
import type { Component } from 'svelte';
import type { Scope } from './session.svelte';

export interface View {
  /** The first part of its address, and the area of its catalogue. */
  path: string;
  /** The words of its link, of the shell's catalogue. */
  title: string;
  /** What a key must open for it to be shown. */
  scope: Scope;
  load: () => Promise<{ default: Component }>;
}

export const views: View[] = [
  { path: 'playground', title: 'shell.playground', scope: 'inference', load: () => import('./views/playground/Playground.svelte') },
  { path: 'evaluations', title: 'shell.evaluations', scope: 'inference', load: () => import('./views/evaluations/Evaluations.svelte') },
  { path: 'training', title: 'shell.training', scope: 'admin', load: () => import('./views/training/Training.svelte') },
  { path: 'merges', title: 'shell.merges', scope: 'admin', load: () => import('./views/merges/Merges.svelte') },
  { path: 'server', title: 'shell.server', scope: 'metrics', load: () => import('./views/server/Server.svelte') },
];
