// Tests the setup page of the meter agent in a real browser, against a simulated meter:
//   node web/tests/against-setup.mjs FOLDER_WITH_PROGRAMS [--screenshots DIR]
// Everything runs on free ports in a temporary folder and is stopped by its own process id.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startBrowser } from './browser-start.mjs';

const [programs, option, pictures] = process.argv.slice(2);
if (!programs || (option && (option !== '--screenshots' || !pictures))) {
  console.error('usage: node web/tests/against-setup.mjs FOLDER_WITH_PROGRAMS [--screenshots DIR]');
  process.exit(2);
}
const here = dirname(fileURLToPath(import.meta.url));
const scenario = join(here, '../../sim-grid/scenarios/semiurb4');
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1440, height: 900 };

const folder = mkdtempSync(join(tmpdir(), 'setup-'));
const children = [];
process.on('exit', () => {
  children.forEach((child) => child.kill('SIGTERM'));
  rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** Starts a program and returns what it says until `enough`. */
async function start(program, args, enough) {
  const child = spawn(join(programs, program), args, { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  let said = '';
  for await (const line of createInterface({ input: child.stdout })) {
    said += `${line}\n`;
    if (enough(line)) return JSON.parse(said);
  }
  throw new Error(`${program} ended: ${said}`);
}

const street = await start('sim-grid', ['serve', '--json', '--speed', '1', '--from', '2016-07-18T10:00Z', '--scenario', scenario], (line) => line === '}');
const house = street.houses.find((one) => one.kind === 'sdm630' && one.units.length === 2);
assert.ok(house, 'the street has a house with an SDM630 and an inverter');
const config = join(folder, 'home', 'agent.toml');
const init = spawnSync(join(programs, 'meter-agent'), ['init', '--dir', join(folder, 'home'), '--point', house.customer]);
assert.equal(init.status, 0, String(init.stderr));
const { url } = await start('meter-agent', ['setup', '--config', config, '--listen', '127.0.0.1:0', '--json'], () => true);

const browser = await startBrowser();
const faults = [];
async function open(viewport, colorScheme) {
  const page = await browser.newPage({ viewport, colorScheme });
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('request', (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== 'data:') assert.equal(origin, new URL(url).origin, 'no other host is asked');
  });
  await page.goto(url);
  await page.locator('body[data-ready]').waitFor();
  return page;
}

/** No violation of the accessibility rules, nothing wider than the screen; with --screenshots a picture. */
async function judged(page, name) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]), [], name);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wide <= 0, `${name}: ${wide} px too wide`);
  if (pictures) {
    mkdirSync(pictures, { recursive: true });
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  }
}

/** From the address to the end: the meter is found, looked at, written down and checked. */
async function walk(page, name, address, role, kettle) {
  await judged(page, `${name}-1-find`);
  await page.getByLabel('Address of the device').fill(address);
  await page.getByRole('button', { name: 'Look what is there' }).click();
  const mine = page.getByRole('button', { name: role });
  await mine.first().waitFor({ timeout: 60_000 });
  await judged(page, `${name}-2-look`);
  await mine.first().click();
  await page.locator('#diff', { hasText: 'unit = ' }).waitFor();
  await judged(page, `${name}-3-assign`);
  await page.getByRole('button', { name: 'Write it down' }).click();
  await page.getByRole('heading', { name: /A kettle tells/ }).waitFor();
  if (kettle) {
    await page.getByRole('button', { name: 'Start' }).click();
    await page.locator('#busy-text', { hasText: 'switch nothing on' }).waitFor();
    await page.locator('#busy-text.now').waitFor({ timeout: 30_000 });
    await judged(page, `${name}-4-kettle`);
    await page.getByRole('button', { name: 'Stop', exact: true }).click();
    await page.locator('#error', { hasText: 'stopped' }).waitFor();
  }
  await page.getByRole('button', { name: 'Skip' }).first().click();
  await page.getByRole('button', { name: 'Check', exact: true }).click();
  await page.locator('#remarks .card').first().waitFor({ timeout: 60_000 });
  await judged(page, `${name}-5-check`);
  await page.locator('#remarks').getByRole('button', { name: 'Go on' }).click();
  await page.locator('#command', { hasText: 'meter-agent run' }).waitFor();
  await judged(page, `${name}-6-done`);
}

const phone = await open(PHONE, 'light');
await walk(phone, 'phone-light', `${house.addr}/2`, 'This is my grid meter', true);
assert.match(readFileSync(config, 'utf8'), /map = "eastron-sdm630"/);
await phone.close();
const desk = await open(DESK, 'dark');
assert.match(await desk.locator('#devices').innerText(), /grid/);
await walk(desk, 'desk-dark', `${house.addr}/1`, 'This is my solar plant', false);
assert.match(readFileSync(config, 'utf8'), /role = "pv"/);
// What is no device is said, in words.
await desk.goto(url);
await desk.locator('body[data-ready]').waitFor();
await desk.getByLabel('Address of the device').fill('127.0.0.1:1');
await desk.getByRole('button', { name: 'Look what is there' }).click();
await desk.locator('#error', { hasText: 'nobody listens at this port' }).waitFor();
await judged(desk, 'desk-dark-7-error');
await desk.close();
for (const [viewport, scheme, name] of [[PHONE, 'dark', 'phone-dark'], [DESK, 'light', 'desk-light']]) {
  const page = await open(viewport, scheme);
  await judged(page, `${name}-1-find`);
  await page.close();
}
assert.deepEqual(faults, [], 'nothing went wrong in the browser');

// Nobody else gets in.
const { origin, searchParams } = new URL(url);
const token = searchParams.get('token');
const ask = async (path, headers = {}, method = 'GET') => (await fetch(origin + path, { method, headers })).status;
assert.equal(await ask('/'), 403, 'without the token');
assert.equal(await ask(`/?token=${'0'.repeat(token.length)}`), 403, 'with another one');
assert.equal(await ask('/api/state'), 403);
assert.equal(await ask('/api/state', { 'X-Setup-Token': token }), 200);
assert.equal(await ask('/api/state', { 'X-Setup-Token': token, Origin: 'http://evil.example' }), 403);
assert.equal(await ask('/api/check', { 'X-Setup-Token': token, 'Content-Type': 'text/plain' }, 'POST'), 415);
await browser.close();
console.log('the setup page works: phone and desk, light and dark');
process.exit(0);
