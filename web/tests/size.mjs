// Fails when the built pages outgrow what a phone should have to load: 250 kB compressed in all.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const LIMIT_BYTES = 250_000;
const dist = fileURLToPath(new URL('../dist', import.meta.url));

const files = (dir) => readdirSync(dir, { withFileTypes: true }).flatMap((one) => (one.isDirectory() ? files(join(dir, one.name)) : [join(dir, one.name)]));
const total = files(dist).reduce((sum, file) => sum + gzipSync(readFileSync(file), { level: 9 }).length, 0);
console.log(`${(total / 1000).toFixed(1)} kB compressed of ${LIMIT_BYTES / 1000} kB`);
if (total > LIMIT_BYTES) {
  console.error('The pages have outgrown their limit. See what grew with: npx vite build, and load it later or leave it out.');
  process.exit(1);
}
