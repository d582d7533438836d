import { expect, test } from 'vitest';
import type { FeederSlot, TradedBranch } from './api';
import { NBSP, slotOf } from './format';
import { byUse, deliveredSentence, tradedSentence, used } from './network';

const SLOT = slotOf(Date.UTC(2016, 6, 20, 12));
const words = (text: string) => text.replaceAll(NBSP, ' ');
const branch = (given: Partial<TradedBranch> = {}): TradedBranch => ({ id: 'L1', from: 'B0', to: 'B1', flow_wh: 60, import_cap_wh: 100, export_cap_wh: 100, fee: 20_000, full: false, congestion: 0, ...given });
const full = branch({ flow_wh: 100, full: true, congestion: 55_000 });
const of = (branches: TradedBranch[], given: Partial<NonNullable<FeederSlot['traded']>> = {}): FeederSlot => ({
  slot: SLOT, start_ms: 0, delivered: null, traded: { cleared_wh: 500, fees_nano: 2_000_000, congestion_nano: 0, branches, buses: [], ...given },
});

test.each([
  ['towards the homes', branch(), 60],
  ['towards the grid', branch({ flow_wh: -50, export_cap_wh: 200 }), 25],
  ['without a limit', branch({ import_cap_wh: null }), null],
  ['closed', branch({ flow_wh: 0, import_cap_wh: 0, export_cap_wh: 0, full: true }), 100],
])('how much of a limit is used: %s', (_, given, expected) => expect(used(given)).toBe(expected));

test('full branches come first, then the nearest to it', () => {
  const list = [branch({ id: 'open', import_cap_wh: null }), branch({ id: 'half' }), branch({ ...full, id: 'full' }), branch({ id: 'most', flow_wh: 90 })];
  expect(byUse(list).map((one) => one.id)).toEqual(['full', 'most', 'half', 'open']);
});

test.each([
  ['as if at one bus', { ...of([]), traded: null }, 'From 14:00 to 14:15 the members traded as if at one bus: cables neither limited nor cost anything.'],
  ['nothing', of([branch({ flow_wh: 0 })], { cleared_wh: 0 }), 'From 14:00 to 14:15 nothing was traded, so no branch was used by the trade.'],
  ['room', of([branch()]), 'From 14:00 to 14:15 500 Wh were traded over the network; fees brought 0.20 ct. No branch was full, so congestion cost nothing.'],
  ['free', of([branch()], { fees_nano: 0 }), 'From 14:00 to 14:15 500 Wh were traded over the network; no fee was due. No branch was full, so congestion cost nothing.'],
  ['full', of([branch({ id: 'L2' }), full], { congestion_nano: 5_500_000 }), 'From 14:00 to 14:15 500 Wh were traded over the network; fees brought 0.20 ct. 1 branch was full: L1 (100 Wh towards the homes, 5.5 ct a kWh); being full brought 0.55 ct.'],
  ['many', of(['a', 'b', 'c', 'd'].map((id) => branch({ ...full, id, flow_wh: -100, congestion: 0 }))), 'From 14:00 to 14:15 500 Wh were traded over the network; fees brought 0.20 ct. 4 branches were full: a (100 Wh towards the grid), b (100 Wh towards the grid), c (100 Wh towards the grid) and 1 more.'],
])('trade: %s', (_, given, expected) => expect(words(tradedSentence(given, 'EUR'))).toBe(expected));

const solved = {
  source: '', age_ms: null, reporting: 41, households: 41, buses: [], branches: [], limits: { low_pu: 0.9, high_pu: 1.1 },
  losses_wh: 41.26, assumed_losses_wh: 60, lowest: { bus: 'B9', vm_pu: 0.982 }, highest: { bus: 'B0', vm_pu: 1.021 },
};
test.each([
  ['not yet', null, 'The meters of this slot are not settled yet; what was delivered over the network is not known.'],
  ['solved', solved, 'By all 41 meters and the exact power flow, the network lost 41.3 Wh; the fees assume 60 Wh. Voltages went from 1.8 % below nominal at B9 to 2.1 % above at B0.'],
  ['nothing assumed', { ...solved, assumed_losses_wh: 0, reporting: 40 }, 'By 40 of 41 meters and the exact power flow, the network lost 41.3 Wh; the fees assume none. Voltages went from 1.8 % below nominal at B9 to 2.1 % above at B0.'],
  ['no grid', { ...solved, assumed_losses_wh: null, lowest: null, highest: null }, 'By all 41 meters and the exact power flow, the network lost 41.3 Wh.'],
  ['no solution', { ...solved, losses_wh: null, lowest: null, highest: null }, 'By all 41 meters the power flow has no solution.'],
])('delivery: %s', (_, delivered, expected) => expect(words(deliveredSentence({ ...of([]), delivered }))).toBe(expected));
