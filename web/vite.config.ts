// The build: hashed assets for the controller to embed, and a development server that passes
// the API through to a running street.
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

const street = process.env.STREET_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  base: '/',
  plugins: [svelte()],
  build: {
    target: 'es2022',
    modulePreload: { polyfill: false },
    // The chart library is one lazy chunk of its own size; the warning would only repeat that.
    chunkSizeWarningLimit: 700,
  },
  server: { proxy: { '/api': street, '/healthz': street } },
  test: { include: ['src/**/*.test.ts'], environment: 'node', env: { TZ: 'Europe/Berlin' } },
});
