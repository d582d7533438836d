import { describe, expect, test } from 'vitest';
import type { AnchorSummary, Feeder, Household, HouseholdDetail, SlotSummary, StatementRow, StatementVersion, Street } from './api';
import { NBSP, slotOf } from './format';
import { againWords, chainSentence, feederSentence, homeSentence, homesSentence, plain, slotSentence, streetSentence, type Sentence } from './sentence';

const say = (sentence: Sentence) => plain(sentence).replaceAll(NBSP, ' ');
const SLOT = slotOf(Date.UTC(2016, 6, 20, 12));

const slot: SlotSummary = {
  slot: SLOT, start_ms: SLOT * 900_000, state: 'settled', version: 1, retail: 288_000, feed_in: 123_100, price: 194_000, price_low: 190_000, price_high: 198_000, members: null,
  orders: 41, cleared_wh: 2_300, method: 'lp', rung: 'lp', measured: 41, missing: 0, import_wh: 5_000, export_wh: 2_300, grid_import_wh: 2_700, grid_export_wh: 0, local_wh: 2_300, pv_wh: 4_000, anchored_seq: null,
};
const live: Street['live'] = { age_ms: 400, reporting: 41, households: 41, pv_w: 0, home_w: 0, battery_charge_w: 0, battery_discharge_w: 0, grid_import_w: 0, grid_export_w: 0, shared_w: 0 };
const SILENT = { age_ms: null, reporting: 0, pv_w: null, home_w: null, battery_charge_w: null, battery_discharge_w: null, grid_import_w: null, grid_export_w: null, shared_w: null };
const ladder = { lp: 0, exact: 0, envelopes: 0, shared: 0, degraded_ppm: null };
const street = (given: Partial<Street['live']>, last: SlotSummary | null = slot): Street => ({
  community: 'x', currency: 'EUR', now_ms: 0, speed: 1, slot: SLOT, slot_start_ms: 0, slot_end_ms: 0, live: { ...live, ...given },
  offers: [{ slot: SLOT + 1, start_ms: 0, gate_ms: 0, retail: 288_000, feed_in: 123_100 }], last, last_cleared: last,
  today: { slots: 0, import_wh: 0, export_wh: 0, local_wh: 0, paid_to_supplier_nano: 0, reward_wh: 0, ladder }, ladder, sharing: { rule: 'auction', key: 'none', takes_orders: true, form: { rule: 'auction', key: 'none' } }, anchor: null, chain: null, refusals: { total: 0 },
});

describe('street', () => {
  const rows: [string, Street, string][] = [
    ['day', street({ pv_w: 31_000, home_w: 24_000, shared_w: 11_000, grid_export_w: 7_000 }), 'The street makes 31 kW and needs 24. It passes 11 kW between neighbours at 19.4 ct and sells 7.0 kW to the grid at 12.3 ct.'],
    ['night', street({ home_w: 12_000, grid_import_w: 12_000 }), 'No sun. The street buys 12 kW from the grid at 28.8 ct.'],
    ['dusk', street({ pv_w: 900, home_w: 24_000, battery_discharge_w: 3_000, grid_import_w: 20_100 }), 'The street makes 900 W and needs 24 kW. It draws 3.0 kW from batteries and buys 20 kW from the grid at 28.8 ct.'],
    ['balanced', street({ pv_w: 5_000, home_w: 5_000 }), 'The street makes 5.0 kW and needs 5.0. It needs nothing from the grid.'],
    ['silent', street(SILENT), 'No meter speaks right now. From 14:00 to 14:15, 2.30 kWh went from neighbour to neighbour at 19.4 ct.'],
    ['new', street(SILENT, null), 'No meter of the 41 homes has spoken yet.'],
  ];
  test.each(rows)('%s', (_, given, expected) => expect(say(streetSentence(given))).toBe(expected));

  test('no price is said for the neighbours when none was made', () => {
    expect(say(streetSentence(street({ pv_w: 5_000, home_w: 5_000, shared_w: 900 }, { ...slot, price: null })))).toContain('passes 900 W between neighbours.');
  });
});

describe('slot', () => {
  const rows: [SlotSummary, string][] = [
    [slot, 'From 14:00 to 14:15, 2.30 kWh went from neighbour to neighbour at 19.4 ct.'],
    [{ ...slot, state: 'cleared', local_wh: null, grid_import_wh: null }, 'From 14:00 to 14:15, 2.30 kWh will go from neighbour to neighbour at 19.4 ct.'],
    [{ ...slot, price: null, members: { buy: 205_550, sell: 150_000 } }, 'From 14:00 to 14:15, 2.30 kWh went from neighbour to neighbour; members pay 20.6 ct and get 15.0 ct.'],
    [{ ...slot, local_wh: 0, price: null }, 'From 14:00 to 14:15 nothing went between neighbours; the grid delivered 2.70 kWh.'],
    [{ ...slot, state: 'cleared', local_wh: null, grid_import_wh: null, cleared_wh: 0, price: null }, 'From 14:00 to 14:15 nothing will go between neighbours.'],
  ];
  test.each(rows)('%#', (given, expected) => expect(say(slotSentence(given, 'EUR'))).toBe(expected));
});

const household = (given: Partial<Household>): Household => ({
  point: 'C1', name: 'Elm 1', kind: 'household', devices: [], bus: 'B1', live: { age_ms: 0, power_w: 400, pv_w: null, battery_w: null, soc_permille: null, voltage_mv: null },
  today: { bought_wh: 0, sold_wh: 0, grid_import_wh: 0, grid_export_wh: 0, amount_nano: 0, saved_nano: 0 }, reward_wh: 0, audit: 'verified', ...given,
});

test('homes: trouble is said', () => {
  const sells = household({ live: { age_ms: 0, power_w: -900, pv_w: 1_000, battery_w: null, soc_permille: null, voltage_mv: null } });
  expect(say(homesSentence([household({}), sells], 1))).toBe('Of 2 homes, 1 sells and 1 buys right now. No bill has failed its check.');
  expect(say(homesSentence([household({}), household({ live: null }), household({ audit: 'failed' })], 1))).toBe('Of 3 homes, 0 sell and 2 buy right now, 1 is silent. 1 bill failed its check.');
});

const bill: StatementRow = {
  slot: SLOT, start_ms: SLOT * 900_000, version: 1, versions: [], measured: true, quality: 'measured', import_wh: 0, export_wh: 300, bought_wh: 0, sold_wh: 300, price: 194_000, retail: 288_000, feed_in: 123_100,
  local_import_wh: 0, local_export_wh: 300, grid_import_wh: 0, grid_export_wh: 0, late_import_wh: 0, late_export_wh: 0, amount_nano: -58_200_000, alone_nano: -36_930_000, sharing: null, reward_wh: 300, audit: null, log_index: 0, anchored_seq: null,
};
const detail = (live: Household['live'], statements: StatementRow[]): HouseholdDetail => ({
  ...household({ live }), statements, totals: { slots: 1, import_wh: 0, export_wh: 300, bought_wh: 0, sold_wh: 300, amount_nano: 0, saved_nano: 0, reward_wh: 300 }, payout: '0x0', reward_total: '0', claimable: '0', claimed: '0', meter: { reading_seq: 1, last_reading_ms: SLOT * 900_000, quality: 'measured', resolution_mwh: null, events: [] },
});

describe('home', () => {
  const flow = { age_ms: 0, power_w: -1_800, pv_w: 3_000, battery_w: 500, soc_permille: 500, voltage_mv: 230_000 };
  const rows: [HouseholdDetail, string][] = [
    [detail(flow, [bill]), 'Elm 1 makes 3.0 kW and needs 700 W. It charges 500 W and sells 1.8 kW. From 14:00 to 14:15 it earned €0.06, €0.02 better than alone.'],
    [detail({ ...flow, power_w: 400, pv_w: 0, battery_w: null }, []), 'Elm 1 needs 400 W.'],
    [detail(null, []), 'Elm 1 is silent: no data since 14:00.'],
    [detail({ ...flow, age_ms: 90 * 16_000 }, []), 'Elm 1 is silent: no data since 14:00.'],
    [detail({ ...flow, power_w: 400, pv_w: null, battery_w: null }, [{ ...bill, measured: false, amount_nano: 0 }]), 'Elm 1 needs 400 W. From 14:00 to 14:15 its meter was silent; the slot is settled again when it speaks.'],
    [detail({ ...flow, power_w: 400, pv_w: null, battery_w: null }, [{ ...bill, amount_nano: 30_000_000, alone_nano: 30_000_000 }]), 'Elm 1 needs 400 W. From 14:00 to 14:15 it paid €0.03.'],
  ];
  test.each(rows)('%#', (given, expected) => expect(say(homeSentence(given, 'EUR', 90))).toBe(expected));
});

const feeder = (bus: Partial<Feeder['buses'][number]>, branch: Partial<Feeder['branches'][number]>): Feeder => ({
  source: 'x', age_ms: 0, reporting: 1, households: 1, limits: { low_pu: 0.9, high_pu: 1.1 },
  buses: [{ id: 'B1', parent: null, depth: 0, vm_pu: 1.01, band: 'ok', points: [], ...bus }],
  branches: [{ id: 'T1', from: 'B0', to: 'B1', kind: 'transformer', length_m: null, p_w: 34_000, loading_percent: 8.4, max_a: 577, ...branch }],
});

test('feeder: limits that are broken are said first', () => {
  expect(say(feederSentence(feeder({}, {})))).toBe('All 1 buses are within limits, from 1.0 % above to 1.0 % above nominal. The transformer carries 34 kW to the homes, 8.4 % of its rating.');
  expect(say(feederSentence(feeder({ vm_pu: 1.12, band: 'high' }, { p_w: -500_000, loading_percent: 125 })))).toBe('1 bus is outside the voltage limits. 1 branch carries more than rated. The transformer carries 500 kW back to the grid, 125 % of its rating.');
  expect(say(feederSentence(feeder({ vm_pu: null, band: 'unknown' }, {})))).toContain('no voltage is known yet');
});

test('chain: what is final, and what is on the way', () => {
  const anchor = { seq: 2, from_slot: SLOT - 8, to_slot: SLOT - 1, state: 'final', block: 7, final_ms: SLOT * 900_000 } as AnchorSummary;
  const now = SLOT * 900_000 + 120_000;
  expect(say(chainSentence([], now))).toContain('Nothing is anchored yet');
  expect(say(chainSentence([anchor], now))).toBe('Everything up to 14:00 is anchored in block 7, 2 min ago.');
  expect(say(chainSentence([{ ...anchor, state: 'sent', from_slot: SLOT, to_slot: SLOT + 7 }, anchor], now))).toContain('1 epoch is on the way.');
  expect(say(chainSentence([{ ...anchor, state: 'queued', final_ms: null, block: null }], now))).toBe('The first epoch, 12:00–14:00, is on its way to the chain.');
});

describe('settled again', () => {
  const at = Date.UTC(2016, 6, 20, 12, 40);
  const version = (number: number, measured: boolean, missing: number, amount_nano: number): StatementVersion => ({
    version: number, time_ms: at + number * 900_000, measured, missing, amount_nano, log_index: number, found_in: SLOT + number,
  });
  const rows: [string, StatementVersion[], string[]][] = [
    ['once', [], []],
    ['own meter', [version(1, false, 1, 0), version(2, true, 0, -3_000_000)], ["settled again 15:10, because this home's meter came late: 0.0030 EUR less to pay"]],
    ['neighbour', [version(1, true, 1, -5_000_000), version(2, true, 0, -4_000_000)], ["settled again 15:10, because a neighbour's meter came late: 0.0010 EUR more to pay"]],
    ['both', [version(1, false, 3, 0), version(2, true, 0, 0)], ["settled again 15:10, because this home's meter and 2 neighbours' meters came late: the bill stayed the same"]],
    ['twice', [version(1, true, 2, 0), version(2, true, 1, 1_000_000), version(3, true, 0, 0)], ["settled again 15:10, because a neighbour's meter came late: 0.0010 EUR more to pay", "settled again 15:25, because a neighbour's meter came late: 0.0010 EUR less to pay"]],
  ];
  test.each(rows)('%s', (_, versions, expected) => expect(againWords(versions, 'EUR', at).map((words) => words.replaceAll(NBSP, ' '))).toEqual(expected));
});
