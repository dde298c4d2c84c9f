// How the dashboard is built: into dist/, which the binary carries, with no inline script, style or data URL, for its policy allows none.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

/** Every browser that runs this page takes woff2: KaTeX's other formats are left out. */
const woff2Only: Plugin = {
  name: 'woff2-only',
  enforce: 'pre',
  transform(code, id) {
    if (!id.includes('katex') || !id.includes('.css')) return;
    return code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\(["'][a-z]+["']\)/g, '');
  },
};

export default defineConfig({
  plugins: [woff2Only, svelte()],
  build: { target: 'es2023', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: {
    // `npm run dev` shows a server that runs beside it.
    proxy: Object.fromEntries(
      ['/v1', '/metrics', '/health', '/version', '/load', '/tokenize', '/docs', '/openapi.json'].map((path) => [
        path,
        { target: process.env.XENOGLOT_SERVER ?? 'http://127.0.0.1:8080', changeOrigin: true },
      ]),
    ),
  },
});
