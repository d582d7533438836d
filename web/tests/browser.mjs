// What a person sees, tested in a real browser against a running street: BASE_URL=http://… node --test tests/browser.mjs
// The street's clock must run fast enough for a slot to pass within SLOT_TIMEOUT_MS (default 120 s).

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { startBrowser } from './browser-start.mjs';
import { cuttableLine } from './cut-line.mjs';

const base = process.env.BASE_URL;
if (!base) throw new Error('BASE_URL names the running street, for example BASE_URL=http://127.0.0.1:8080');
const SLOT_TIMEOUT_MS = Number(process.env.SLOT_TIMEOUT_MS ?? 120_000);
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1440, height: 900 };
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser;
let facts;
before(async () => {
  browser = await startBrowser();
  const get = async (path) => (await fetch(new URL(`/api/v1${path}`, base))).json();
  const [{ households }, feeder] = await Promise.all([get('/households'), get('/feeder')]);
  facts = { households, feeder, home: households.find((one) => one.devices.includes('pv')) ?? households[0] };
});
after(() => browser?.close());

/** A page that keeps what went wrong on it and whom it asked. */
async function open(path, { viewport = DESK, origin = base, colorScheme = 'light', reducedMotion } = {}) {
  const page = await browser.newPage({ viewport, colorScheme, reducedMotion });
  const faults = [];
  const hosts = new Set();
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('request', (request) => hosts.add(new URL(request.url()).origin));
  await page.goto(new URL(path, origin).href);
  await page.locator('h1:not(.visually-hidden)').waitFor();
  return { page, faults, hosts };
}

function pages() {
  return { street: '/', homes: '/homes', home: `/home/${encodeURIComponent(facts.home.point)}`, feeder: '/feeder', chain: '/chain' };
}

test('every page opens without an error and asks no other host', async () => {
  for (const [name, path] of Object.entries(pages())) {
    const { page, faults, hosts } = await open(path);
    await page.waitForFunction(() => !document.querySelector('.loading'));
    assert.match(await page.title(), /Streetwatt/, name);
    assert.deepEqual(faults, [], name);
    assert.deepEqual([...hosts].filter((host) => !host.startsWith('data')), [new URL(base).origin], name);
    await page.close();
  }
});

test('a slot clears and a slot settles on the open page, without a reload', async () => {
  const { page, faults } = await open('/');
  await page.evaluate(() => (window.notReloaded = true));
  const settled = page.locator('[data-testid=last-slot]');
  const newest = page.locator('[data-testid=newest-slot]');
  await newest.waitFor({ timeout: SLOT_TIMEOUT_MS });
  await settled.waitFor({ timeout: SLOT_TIMEOUT_MS });
  const before = { settled: await settled.textContent(), newest: Number(await newest.getAttribute('data-slot')) };
  await page.waitForFunction(
    (old) => document.querySelector('[data-testid=last-slot]')?.textContent !== old.settled && Number(document.querySelector('[data-testid=newest-slot]')?.dataset.slot) > old.newest,
    before,
    { timeout: SLOT_TIMEOUT_MS },
  );
  assert.match(await settled.textContent(), /Settled \d\d:\d\d–\d\d:\d\d/);
  assert.equal(await page.evaluate(() => window.notReloaded), true);
  await page.locator('div[role=img] svg').first().waitFor();
  assert.ok((await page.locator('div[role=img] svg path').count()) > 3, 'the flow is drawn');
  assert.deepEqual(faults, []);
  await page.close();
});

test('from the list a household page is reached, and a bill says who vouches for it', async () => {
  const { page, faults } = await open('/homes');
  assert.equal(await page.locator('tbody a[href^="/home/"]').count(), facts.households.length);
  await page.locator(`a[href="/home/${encodeURIComponent(facts.home.point)}"]`).click();
  await page.waitForURL(/\/home\//);
  await page.getByText('Money today').waitFor();
  assert.ok((await page.locator('h1').textContent()).includes(facts.home.name));
  const bill = page.locator('button[aria-expanded]').first();
  await bill.waitFor({ timeout: SLOT_TIMEOUT_MS });
  await bill.click();
  await page.getByText('The log').waitFor();
  assert.match(await page.locator('li', { hasText: 'The meter' }).textContent(), /signed|silent/);
  await page.goBack();
  await page.waitForURL(/\/homes$/);
  assert.deepEqual(faults, []);
  await page.close();
});

test('every price can be asked why, from the bill, by its address and slot by slot', async () => {
  const home = `/home/${encodeURIComponent(facts.home.point)}`;
  const { page, faults } = await open(home, { viewport: PHONE });
  const link = page.locator(`a[href^="${home}/why/"]:visible`).first();
  await link.waitFor({ timeout: SLOT_TIMEOUT_MS });
  const asked = await link.getAttribute('href');
  await link.press('Enter');
  await page.waitForURL((url) => url.pathname === asked);
  const why = page.locator('#why');
  await why.getByText(/^From \d\d:\d\d to \d\d:\d\d /).waitFor();
  assert.match(await why.textContent(), /Who set it|What was on offer/);
  assert.match(await why.textContent(), /You (bid|offered|had sent no order)/);
  await page.waitForFunction(() => document.activeElement?.id === 'why-title');
  assert.ok(await why.evaluate((one) => one.getBoundingClientRect().top < innerHeight / 2), 'the answer is in view');
  const said = await why.locator('.lead').textContent();

  await why.getByRole('button', { name: /slot before/ }).press('Enter');
  await page.waitForURL((url) => url.pathname !== asked);
  const before = Number(new URL(page.url()).pathname.split('/').at(-1));
  assert.equal(before, Number(asked.split('/').at(-1)) - 1);
  await page.waitForFunction((old) => !document.querySelector('#why .loading') && document.querySelector('#why .lead')?.textContent !== old, said);
  await page.close();

  const never = await open(`${home}/why/7`);
  await never.page.locator('#why [role=alert]').waitFor();
  assert.match(await never.page.locator('#why').textContent(), /slot 7 .* is not cleared/);
  assert.deepEqual(faults, []);
  await never.page.close();
});

test('the feeder shows every bus in the drawing and in the table', async () => {
  const { page } = await open('/feeder');
  const drawn = await page.locator('section[aria-label="One line"] [data-bus]').evaluateAll((all) => all.map((one) => one.dataset.bus));
  const listed = await page.locator('[data-bus-row]').evaluateAll((all) => all.map((one) => one.dataset.busRow));
  const wanted = facts.feeder.buses.map((bus) => bus.id).sort();
  assert.deepEqual(drawn.sort(), wanted);
  assert.deepEqual(listed.sort(), wanted);
  await page.close();
});

test('the feeder goes back slot by slot, by keys and by address', async () => {
  const { page, faults } = await open('/feeder');
  const past = page.locator('#past');
  const scrubber = past.getByRole('slider', { name: 'Slot' });
  await scrubber.waitFor({ timeout: SLOT_TIMEOUT_MS });
  await past.getByText(/ (traded over the network|nothing was traded|as if at one bus)/).waitFor();
  assert.ok((await past.locator('tbody tr').count()) > 3, 'branches are listed');
  const newest = Number(await scrubber.inputValue());
  await scrubber.focus();
  await page.keyboard.press('ArrowLeft');
  await page.waitForURL((url) => url.pathname === `/feeder/${newest - 1}`);
  assert.match(await scrubber.getAttribute('aria-valuetext'), /\d\d:\d\d–\d\d:\d\d$/);
  assert.deepEqual(faults, []);
  await page.close();

  const { page: never } = await open('/feeder/7');
  await never.locator('#past [role=alert]').waitFor();
  await never.close();
});

test('a phone never scrolls sideways, and its controls are thumb-sized', async () => {
  for (const [name, path] of Object.entries(pages())) {
    const { page } = await open(path, { viewport: PHONE });
    await page.waitForFunction(() => !document.querySelector('.loading'));
    const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(tooWide <= 0, `${name} is ${tooWide} px too wide`);
    const low = await page.locator('nav a').evaluateAll((links) => links.filter((link) => link.getBoundingClientRect().height < 44).length);
    assert.equal(low, 0, `${name}: navigation below 44 px`);
    await page.close();
  }
});

test('no page has a serious accessibility fault, light or dark', async () => {
  for (const colorScheme of ['light', 'dark'])
    for (const [name, path] of Object.entries(pages())) {
      const { page } = await open(path, { colorScheme, reducedMotion: 'reduce' });
      await page.waitForFunction(() => !document.querySelector('.loading'));
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      const serious = violations.filter((one) => one.impact === 'serious' || one.impact === 'critical');
      assert.deepEqual(serious.map((one) => `${one.id}: ${one.nodes[0]?.html}`), [], `${name}, ${colorScheme}`);
      await page.close();
    }
});

test('when the line is cut the page says so, and heals by itself when it is back', async () => {
  const line = await cuttableLine(base);
  const { page } = await open('/', { origin: line.url });
  await page.locator('[data-testid=last-slot]').waitFor({ timeout: SLOT_TIMEOUT_MS });
  line.cut();
  await page.getByText('No connection to the street').waitFor();
  const before = await page.locator('[data-testid=last-slot]').textContent();
  assert.ok((await page.locator('h1').textContent()).length > 0, 'what was known stays');
  line.mend();
  await page.getByText('No connection to the street').waitFor({ state: 'detached', timeout: 60_000 });
  await page.waitForFunction((old) => document.querySelector('[data-testid=last-slot]')?.textContent !== old, before, { timeout: SLOT_TIMEOUT_MS });
  await page.close();
  await line.close();
});

test('an unknown household and an unknown page are told apart from an outage', async () => {
  const page = await browser.newPage({ viewport: PHONE });
  await page.goto(new URL('/home/no-such-home', base).href);
  await page.getByRole('alert').waitFor();
  assert.equal(await page.getByText('No connection to the street').count(), 0);
  await page.goto(new URL('/no-such-page', base).href);
  await page.getByText('There is no such page.').waitFor();
  await page.close();
});
