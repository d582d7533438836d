import { expect, test } from 'vitest';
import { href, parse } from './routes';

test.each([
  ['/', { page: 'street' }],
  ['/homes', { page: 'homes' }],
  ['/homes/', { page: 'homes' }],
  ['/home/C%20001', { page: 'home', point: 'C 001', why: null }],
  ['/home/C%20001/why/1632250', { page: 'home', point: 'C 001', why: 1632250 }],
  ['/home/C001/why/x', { page: 'unknown' }],
  ['/home/C001/why', { page: 'unknown' }],
  ['/home/C001/why/1/2', { page: 'unknown' }],
  ['/slot/1/why/1', { page: 'unknown' }],
  ['/home/%zz', { page: 'home', point: '%zz', why: null }],
  ['/home', { page: 'unknown' }],
  ['/feeder', { page: 'feeder', slot: null }],
  ['/feeder/1632250', { page: 'feeder', slot: 1632250 }],
  ['/feeder/now', { page: 'unknown' }],
  ['/chain', { page: 'chain' }],
  ['/slot/1632250', { page: 'slot', slot: 1632250 }],
  ['/slot/x', { page: 'unknown' }],
  ['/chain/9', { page: 'unknown' }],
  ['/a/b/c', { page: 'unknown' }],
])('%s', (path, expected) => expect(parse(path)).toEqual(expected));

test('an address leads back to what it was made from', () => {
  expect(parse(href.home('C/ä 1'))).toEqual({ page: 'home', point: 'C/ä 1', why: null });
  expect(parse(href.why('C/ä 1', 7))).toEqual({ page: 'home', point: 'C/ä 1', why: 7 });
});
