// Runs the browser test against a real street, or takes the README's pictures of one:
//   node web/tests/against-demo.mjs target/debug/sim-grid [--screenshots DIR]
// The street runs on free ports in a temporary folder and is stopped by its own process id.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const [program, option, folder] = process.argv.slice(2);
if (!program || (option && (option !== '--screenshots' || !folder))) {
  console.error('usage: node web/tests/against-demo.mjs SIM_GRID [--screenshots DIR]');
  process.exit(2);
}
const here = dirname(fileURLToPath(import.meta.url));
/** Slots that are settled first: one for the test, some hours for the picture of a day. */
const SLOTS_FIRST = folder ? 30 : 1;
const speed = folder ? '450' : '120';

const street = spawn(program, ['demo', '--json', '--http', '127.0.0.1:0', '--speed', speed], {
  stdio: ['ignore', 'pipe', 'inherit'],
});
const stop = () => street.kill('SIGTERM');
process.on('exit', stop);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

const lines = createInterface({ input: street.stdout })[Symbol.asyncIterator]();
const greeting = await lines.next();
if (greeting.done) {
  console.error('the street did not start; its own message stands above');
  process.exit(1);
}
const { url } = JSON.parse(greeting.value);
for (let settled = 0; settled < SLOTS_FIRST; ) {
  const line = await lines.next();
  if (line.done) process.exit(1);
  if (JSON.parse(line.value).slot) settled += 1;
}
// What follows is not needed, but must not fill the pipe.
(async () => {
  while (!(await lines.next()).done);
})();

let child;
if (folder) {
  child = spawn(process.execPath, [join(here, 'screenshot.mjs'), url, folder], { stdio: 'inherit' });
} else {
  child = spawn(process.execPath, ['--test', join(here, 'browser.mjs')], {
    stdio: 'inherit',
    env: { ...process.env, BASE_URL: url },
  });
}
const [code] = await once(child, 'exit');
stop();
await once(street, 'exit');
process.exit(code ?? 1);
