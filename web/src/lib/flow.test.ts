import { describe, expect, test } from 'vitest';
import { places } from '../charts/sankey';
import type { SlotSummary } from './api';
import { fresh, homeFlow, householdBalance, slotBalance, streetFlow, through, type Flow, type StreetBalance } from './flow';

const links = (flow: Flow) => Object.fromEntries(flow.links.map((link) => [`${link.from}>${link.to}`, link.value]));
const street = (given: Partial<StreetBalance>): StreetBalance => {
  const b = { sun: 0, charge: 0, discharge: 0, gridIn: 0, gridOut: 0, shared: 0, ...given };
  return { home: b.sun + b.discharge + b.gridIn - b.charge - b.gridOut, ...b };
};

describe('streetFlow', () => {
  test('at night everything comes from the grid', () => {
    const flow = streetFlow(street({ gridIn: 12_000 }));
    expect(links(flow)).toEqual({ 'grid-in>homes': 12_000 });
    expect(flow.nodes.map((node) => node.name)).toEqual(['Grid', 'Homes']);
  });

  test('sun serves its own house, the neighbours, the battery and the grid', () => {
    const flow = streetFlow(street({ sun: 30_000, charge: 4_000, shared: 11_000, gridOut: 7_000 }));
    const sun = links(flow);
    expect(sun['sun>battery-in']).toBe(4_000);
    expect(sun['sun>near']).toBeCloseTo(11_000);
    expect(sun['sun>grid-out']).toBeCloseTo(7_000);
    expect(sun['sun>homes']).toBeCloseTo(8_000);
    expect(sun['near>homes']).toBe(11_000);
  });

  test('a battery that feeds a neighbour does so after the sun', () => {
    const flow = streetFlow(street({ sun: 1_000, discharge: 5_000, shared: 3_000 }));
    expect(links(flow)).toEqual({ 'sun>near': 1_000, 'battery-out>near': 2_000, 'battery-out>homes': 3_000, 'near>homes': 3_000 });
  });

  test('a battery that charges from the grid is shown to do so', () => {
    expect(links(streetFlow(street({ charge: 3_000, gridIn: 5_000 })))).toEqual({ 'grid-in>homes': 2_000, 'grid-in>battery-in': 3_000 });
  });

  // A reproducible sweep over balanced streets: what goes in comes out of every node.
  test('nothing is lost on the way', () => {
    let seed = 7;
    const chance = (to: number) => (seed = (seed * 48_271) % 2_147_483_647) % to;
    for (let round = 0; round < 500; round += 1) {
      const sun = chance(40_000);
      const discharge = chance(2) * chance(8_000);
      const charge = discharge > 0 ? 0 : chance(sun + 1);
      const made = sun + discharge - charge;
      const out = chance(made + 1);
      const shared = chance(out + 1);
      const b = street({ sun, discharge, charge, shared, gridOut: out - shared, gridIn: shared === out ? chance(20_000) : 0 });
      const flow = streetFlow(b);
      const sum = (pick: (link: Flow['links'][number]) => boolean) => flow.links.filter(pick).reduce((total, link) => total + link.value, 0);
      const near = (a: number, c: number) => Math.abs(a - c) <= 3;
      expect(near(sum((link) => link.to === 'homes'), b.home), `round ${round}: homes`).toBe(true);
      expect(near(sum((link) => link.from === 'sun'), b.sun), `round ${round}: sun`).toBe(true);
      expect(near(sum((link) => link.to === 'near'), sum((link) => link.from === 'near')), `round ${round}: neighbours`).toBe(true);
      expect(flow.links.every((link) => link.value > 0)).toBe(true);
      expect(Math.abs(flow.residual)).toBeLessThan(1e-6);
    }
  });

  test('meters that disagree are not hidden', () => {
    expect(streetFlow({ ...street({ gridIn: 5_000 }), home: 4_600 }).residual).toBe(400);
  });
});

test('a home knows the street as one side only', () => {
  const flow = homeFlow({ sun: 3_000, home: 1_000, charge: 500, discharge: 0, bought: 0, sold: 1_500 });
  expect(links(flow)).toEqual({ 'sun>homes': 1_000, 'sun>battery-in': 500, 'sun>grid-out': 1_500 });
  expect(flow.nodes.map((node) => node.name)).toEqual(['Sun', 'Home', 'Battery', 'Street']);
  expect(through(flow, 'sun')).toBe(3_000);
});

test('a silent household has no balance, and what it lacks counts as nothing', () => {
  const live = { age_ms: 0, power_w: null, pv_w: null, battery_w: null, soc_permille: null, voltage_mv: null };
  expect(householdBalance(null)).toBeNull();
  expect(householdBalance(live)).toBeNull();
  expect(householdBalance({ ...live, power_w: -800, pv_w: 1_000, battery_w: -100 })).toEqual({ sun: 1_000, home: 300, charge: 0, discharge: 100, bought: 0, sold: 800 });
});

test('an old message does not speak of the present', () => {
  const live = { age_ms: 90 * 14_000, power_w: 1, pv_w: null, battery_w: null, soc_permille: null, voltage_mv: null };
  expect(fresh(live, 90)).toBe(live);
  expect(fresh(live, 1)).toBeNull();
  expect(fresh(null, 1)).toBeNull();
});

test('a slot that is not settled has no energy balance', () => {
  const slot = { import_wh: 900, export_wh: 400, grid_import_wh: 500, grid_export_wh: 0, local_wh: 400, pv_wh: 600 } as SlotSummary;
  expect(slotBalance(slot)).toEqual({ sun: 600, home: 1_100, charge: 0, discharge: 0, gridIn: 500, gridOut: 0, shared: 400 });
  expect(slotBalance({ ...slot, local_wh: null })).toBeNull();
});

test('nodes of a column never overlap and stay inside the drawing', () => {
  const flow = streetFlow(street({ sun: 30_000, charge: 4_000, shared: 11_000, gridIn: 3_000 }));
  const room = { width: 600, height: 400, gap: 38, node: 14 };
  const spots = places(flow, room);
  for (const column of [0, 1, 2]) {
    const tops = flow.nodes.filter((node) => node.column === column).map((node) => spots.get(node.id)!.y * room.height);
    for (let i = 1; i < tops.length; i += 1) expect(tops[i]! - tops[i - 1]!).toBeGreaterThanOrEqual(room.gap);
    for (const top of tops) expect(top >= 0 && top <= room.height).toBe(true);
  }
});
