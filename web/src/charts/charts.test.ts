import { expect, test } from 'vitest';
import type { SlotDetail } from '../lib/api';
import { curves, stairs } from './curves';
import { cells } from './prices';
import type { Look } from './style';

const tone = { sun: '#1', battery: '#2', home: '#3', near: '#4', grid: '#5', car: '#6', bad: '#7' };
const look: Look = { palette: { tone, ink: '#8', muted: '#9', line: '#a', surface: '#b', font: 'x' }, width: 600, height: 300 };

const slot: SlotDetail = {
  slot: 10, start_ms: 9_000_000, state: 'settled', version: 1, versions: [], retail: 288_000, feed_in: 123_000, price: 194_000, price_low: 190_000, price_high: 198_000, members: null, orders: 3,
  cleared_wh: 1_000, method: 'lp', rung: 'lp', measured: 3, missing: 0, import_wh: 0, export_wh: 0, grid_import_wh: 0, grid_export_wh: 0, local_wh: 900, pv_wh: 0, anchored_seq: null,
  curves: { bids: [{ price: 250_000, quantity_wh: 400 }, { price: 198_000, quantity_wh: 600 }], asks: [{ price: 190_000, quantity_wh: 2_000 }] }, header: null, checkpoint: null,
};

test('a price level is one flat step as long as its energy', () => {
  expect(stairs(slot.curves.bids)).toEqual([[0, 25], [0.4, 25], [0.4, 19.8], [1, 19.8]]);
  expect(stairs([])).toEqual([]);
});

test('the curves meet in the cleared point', () => {
  const option = curves(slot, 'EUR', look);
  const points = option.series.map((one) => one.data as unknown);
  expect(points).toContainEqual([[1, 19.4]]);
  expect(option.xAxis.max).toBe(2);
});

test('without a trade no point is drawn', () => {
  expect(curves({ ...slot, price: null }, 'EUR', look).series).toHaveLength(4);
  expect(curves({ ...slot, price: null, curves: { bids: [], asks: [] } }, 'EUR', look).series).toHaveLength(4);
});

test('what is not known of a day stays unknown', () => {
  const offer = { slot: 12, start_ms: 0, gate_ms: 0, retail: 300_000, feed_in: 100_000 };
  const day = cells({ days: [9, 10, 11, 12], slots: [slot, { ...slot, slot: 11, state: 'cleared', local_wh: null }], offers: [offer], now: 11, currency: 'EUR' });
  const ruled = cells({ days: [10], slots: [{ ...slot, price: null, members: { buy: 205_000, sell: 150_000 } }], offers: [], now: 11, currency: 'EUR' });
  expect([ruled[0]?.price, ruled[0]?.gets, day[1]?.gets]).toEqual([20.5, 15, null]);
  expect(day.map((cell) => [cell.price, cell.retail, cell.volume, cell.settled])).toEqual([
    [null, null, null, false],
    [19.4, 28.8, 0.9, true],
    [19.4, 28.8, 1, false],
    [null, 30, null, false],
  ]);
});
