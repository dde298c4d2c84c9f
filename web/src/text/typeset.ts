// Formulas by KaTeX, loaded when the first one is seen. KaTeX builds elements, so that no markup of a model is ever parsed; with
// `trust: false` it makes no links, images or attributes from what it reads.
import { loadPart } from '../api/part';

let loading: Promise<typeof import('katex')> | null = null;

function katex(): Promise<typeof import('katex')> {
  loading ??= loadPart(() => Promise.all([import('katex'), import('katex/dist/katex.min.css')])).then(([module]) => module);
  // One that failed may be tried again.
  loading.catch(() => (loading = null));
  return loading;
}

export interface Formula {
  text: string;
  display: boolean;
  /** What is shown until it is typeset, or where it cannot be. */
  source: string;
}

/** An attachment: the element shows the formula. */
export function typeset({ text, display, source }: Formula) {
  return (element: HTMLElement) => {
    element.textContent = source;
    let gone = false;
    katex()
      .then(({ default: katex }) => {
        if (gone) return;
        katex.render(text, element, { displayMode: display, trust: false, strict: 'ignore', errorColor: 'var(--bad)', maxSize: 20, maxExpand: 200 });
      })
      .catch(() => (element.textContent = source));
    return () => void (gone = true);
  };
}
