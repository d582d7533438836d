// Serves the built pages and a made-up street over the controller's API, for looking at the pages
// while working on them. Not shipped. Usage: node tests/fixture-server.mjs [SCENARIO_DIR]
//   PORT (8090), SPEED (90), START (2016-07-20T00:00:00Z), PRELOAD slots (56)
// POST /_fixture/drop?ms=5000 cuts every stream and refuses all for a while;
// POST /_fixture/silence?points=C001,C002 silences meters ("all" for every one); /_fixture/fail?point=C003.

import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { FixtureStreet } from './fixture-street.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const dist = join(here, '..', 'dist');
const dir = process.argv[2] ?? join(here, '..', '..', 'sim-grid', 'scenarios', 'semiurb4');
const env = process.env;
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

// As strict as the pages allow: everything from here, styles in attributes, stripes as data: images.
const POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'self'; frame-ancestors 'none'";

const listeners = new Set();
let id = 0;
const emit = (name, data) => {
  id += 1;
  for (const response of listeners) response.write(`id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
};
const street = new FixtureStreet({ dir, start: Date.parse(env.START ?? '2016-07-20T00:00:00Z'), preload: Number(env.PRELOAD ?? 56), speed: Number(env.SPEED ?? 90), emit });
let downUntil = 0;

setInterval(() => street.step(), 250);
setInterval(() => emit('live', street.live()), 1000);

const refusals = () => ({
  total: 3,
  by_reason: { bad_signature: 2, gate_closed: 1 },
  recent: [
    { point: 'C007', kind: 'order', reason: 'gate_closed', detail: 'arrived 1.2 s after the gate', time_ms: street.now() - 900_000 },
    { point: 'C019', kind: 'reading', reason: 'bad_signature', detail: '', time_ms: street.now() - 1_200_000 },
  ],
});

function answer(path, query) {
  const limit = Number(query.get('limit') ?? 96);
  const parts = path.split('/').filter(Boolean).map(decodeURIComponent);
  if (path === '/street') return street.street();
  if (path === '/slots') {
    const before = Number(query.get('before') ?? Infinity);
    return { slots: [...street.slots.values()].map((one) => one.summary).filter((one) => one.slot < before).sort((a, b) => b.slot - a.slot).slice(0, limit) };
  }
  if (parts[0] === 'slots' && parts.length === 2) return street.detail(Number(parts[1]));
  if (path === '/feeder') return street.feeder();
  if (parts[0] === 'feeder' && parts.length === 2) return street.feederSlot(Number(parts[1]));
  if (path === '/households') return { households: street.households() };
  if (parts[0] === 'households' && parts.length === 2) return street.household(parts[1]);
  if (parts[0] === 'households' && parts[2] === 'proof') return street.proof(parts[1], Number(parts[3]));
  if (parts[0] === 'households' && parts[2] === 'why') return street.why(parts[1], Number(parts[3]));
  if (path === '/anchors') return { anchors: street.anchors.slice(0, limit) };
  if (path === '/refusals') return refusals();
  return null;
}

function control(url) {
  const { pathname, searchParams } = url;
  if (pathname === '/_fixture/drop') {
    downUntil = Date.now() + Number(searchParams.get('ms') ?? 5000);
    for (const response of listeners) response.destroy();
  }
  if (pathname === '/_fixture/silence') {
    const points = searchParams.get('points') ?? '';
    street.silent = new Set(points === 'all' ? street.data.customers.map((one) => one.id) : points.split(',').filter(Boolean));
  }
  if (pathname === '/_fixture/fail') street.failing = searchParams.get('point');
}

function page(path, response) {
  const wanted = join(dist, normalize(path));
  const file = wanted.startsWith(dist) && existsSync(wanted) && statSync(wanted).isFile() ? wanted : join(dist, 'index.html');
  response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-security-policy': POLICY });
  createReadStream(file).pipe(response);
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  if (request.method === 'POST' && url.pathname.endsWith('/claim')) {
    response.writeHead(202, { 'content-type': 'application/json' });
    return response.end('{"claim":"queued"}');
  }
  if (request.method === 'POST') {
    control(url);
    return response.end('ok\n');
  }
  if (!url.pathname.startsWith('/api/v1/')) return page(url.pathname, response);
  if (Date.now() < downUntil) return request.socket.destroy();
  const path = url.pathname.slice('/api/v1'.length);
  if (path === '/events') {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write(': hello\n\n');
    listeners.add(response);
    return response.on('close', () => listeners.delete(response));
  }
  const body = answer(path, url.searchParams);
  response.writeHead(body ? 200 : 404, { 'content-type': 'application/json' });
  return response.end(JSON.stringify(body ?? { error: { code: 'not_found', message: 'The street does not know this.', hint: 'Check the address.' } }));
});
server.listen(Number(env.PORT ?? 8090), '127.0.0.1', () => console.log(`fixture street at http://127.0.0.1:${server.address().port}`));
