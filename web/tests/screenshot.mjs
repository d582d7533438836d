// Takes the pictures of the README and of every page: node tests/screenshot.mjs BASE_URL OUT_DIR [all]
// Without `all`: street.png, street-phone.png and home.png. With it: every page, phone and desktop, light and dark.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { startBrowser } from './browser-start.mjs';

const [base, out, which] = process.argv.slice(2);
if (!base || !out) {
  console.error('usage: node tests/screenshot.mjs BASE_URL OUT_DIR [all]');
  process.exit(2);
}
mkdirSync(out, { recursive: true });

const SIZES = { phone: { width: 390, height: 844 }, desk: { width: 1440, height: 900 } };
const { households } = await (await fetch(new URL('/api/v1/households', base))).json();
/** The home with the most to tell: the one that sold most. */
const solar = households.reduce((best, one) => (one.today.sold_wh > best.today.sold_wh ? one : best));
const { last } = await (await fetch(new URL('/api/v1/street', base))).json();
const PAGES = { street: '/', homes: '/homes', home: `/home/${encodeURIComponent(solar.point)}`, feeder: '/feeder', chain: '/chain', slot: `/slot/${last.slot}` };

const browser = await startBrowser();

/** Drawings load when they come into view. */
async function scrollThrough(page) {
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  for (let y = 0; y < height; y += 400) {
    await page.evaluate((to) => window.scrollTo(0, to), y);
    await page.waitForTimeout(120);
  }
  await page.evaluate(() => window.scrollTo(0, 0));
}

async function take(name, path, { size = 'desk', scheme = 'light', whole = false }) {
  const page = await browser.newPage({ viewport: SIZES[size], colorScheme: scheme, deviceScaleFactor: size === 'phone' ? 2 : 1 });
  await page.goto(new URL(path, base).href);
  await page.locator('h1').waitFor();
  // The street's live pages never fall silent, so wait for the drawings instead of for the network.
  await page.waitForFunction(() => !document.querySelector('.loading') && [...document.querySelectorAll('[role=img]')].every((one) => one.tagName !== 'DIV' || one.childElementCount > 0 || one.getBoundingClientRect().top > innerHeight + 200));
  if (whole) await scrollThrough(page);
  await page.waitForTimeout(700);
  await page.screenshot({ path: join(out, `${name}.png`), fullPage: whole });
  await page.close();
}

if (which === 'all') {
  for (const [name, path] of Object.entries(PAGES))
    for (const size of Object.keys(SIZES)) for (const scheme of ['light', 'dark']) await take(`${name}-${size}-${scheme}`, path, { size, scheme, whole: true });
} else {
  await take('street', PAGES.street, { whole: true });
  await take('street-phone', PAGES.street, { size: 'phone' });
  await take('home', PAGES.home, { whole: true });
  await take('feeder', PAGES.feeder, {});
}
await browser.close();
