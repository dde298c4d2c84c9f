// The page's policy lets no text become markup but Svelte's own templates. Libraries may still empty an element by `innerHTML = ''`, as
// ECharts does with its canvas: this default policy takes the empty text and no other.

interface TrustedTypes {
  createPolicy(name: string, rules: { createHTML: (text: string) => string | null }): unknown;
}

(window as { trustedTypes?: TrustedTypes }).trustedTypes?.createPolicy('default', {
  createHTML: (text) => (text === '' ? text : null),
});
