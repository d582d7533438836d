import { expect, test } from 'vitest';
import type { Bus } from './api';
import { plan } from './layout';

const bus = (id: string, parent: string | null, depth: number): Bus => ({ id, parent, depth, vm_pu: null, band: 'unknown', points: [] });

test('the longest way keeps its row, side branches get rows of their own', () => {
  const drawn = plan([bus('a', null, 0), bus('b', 'a', 1), bus('c', 'b', 2), bus('d', 'b', 2), bus('e', 'c', 3)], []);
  const at = Object.fromEntries(drawn.buses.map((one) => [one.bus.id, [one.x, one.y]]));
  expect(at).toEqual({ a: [0, 0], b: [1, 0], c: [2, 0], e: [3, 0], d: [2, 1] });
  expect([drawn.columns, drawn.rows]).toEqual([4, 2]);
});

test('every bus of a random tree has a place of its own', () => {
  let seed = 11;
  const chance = (to: number) => (seed = (seed * 48_271) % 2_147_483_647) % to;
  for (let round = 0; round < 100; round += 1) {
    const buses = [bus('0', null, 0)];
    for (let i = 1; i < 60; i += 1) {
      const parent = buses[chance(buses.length)]!;
      buses.push(bus(String(i), parent.id, parent.depth + 1));
    }
    const drawn = plan(buses, []);
    expect(drawn.buses.length, `round ${round}`).toBe(60);
    expect(new Set(drawn.buses.map((one) => `${one.x} ${one.y}`)).size, `round ${round}`).toBe(60);
  }
});

test('a bus without a known parent is drawn all the same, and a loop does not hang', () => {
  expect(plan([bus('a', null, 0), bus('x', 'gone', 3)], []).buses).toHaveLength(2);
  expect(plan([bus('a', 'b', 1), bus('b', 'a', 1)], []).buses.length).toBeLessThanOrEqual(2);
});
