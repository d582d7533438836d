import { describe, expect, test } from 'vitest';
import * as f from './format';

/** Quantities hold number and unit together; the tables below are easier to read with plain spaces. */
const spaced = (text: string) => text.replaceAll(f.NBSP, ' ');

function table<T>(name: string, say: (value: T) => string, rows: [T, string][]) {
  describe(name, () => {
    test.each(rows)('%s is %s', (value, expected) => expect(spaced(say(value))).toBe(expected));
  });
}

table('power', f.power, [
  [0, '0 W'],
  [842.4, '842 W'],
  [-842, '842 W'],
  [994, '994 W'],
  [996, '1.0 kW'],
  [1_840, '1.8 kW'],
  [9_940, '9.9 kW'],
  [9_960, '10 kW'],
  [31_200, '31 kW'],
]);

table('finePower', f.finePower, [
  [999, '999 W'],
  [1_240, '1.24 kW'],
  [12_340, '12.3 kW'],
]);

table('energy', f.energy, [
  [0, '0 Wh'],
  [999, '999 Wh'],
  [1_840, '1.84 kWh'],
  [18_400, '18.4 kWh'],
  [1_234_000, '1.23 MWh'],
]);

table('kwh', f.kwh, [
  [1, '0.001'],
  [1_234_567, '1,234.567'],
]);

table('price in ct', (nano: number) => f.price(nano, 'EUR'), [
  [194_000, '19.4 ct'],
  [-12_000, '-1.2 ct'],
]);

test('a price is as fine as its tick', () => {
  expect(spaced(f.finePrice(288_000, 'EUR'))).toBe('28.80 ct/kWh');
  expect(spaced(f.finePrice(194_250, 'EUR'))).toBe('19.425 ct/kWh');
  expect(spaced(f.finePrice(194_251, 'GBP'))).toBe('19.4251 p/kWh');
});

table('money', (nano: number) => f.money(nano, 'EUR'), [
  [0, '€0.00'],
  [1_230_000_000, '€1.23'],
  [-1_230_000_000, '€1.23'],
  [4_200_000, '0.42 ct'],
  [10_000_000, '€0.01'],
]);

test('an unknown currency is named, not refused', () => expect(spaced(f.money(1_500_000_000, 'no currency'))).toBe('1.50 no currency'));

table('duration', f.duration, [
  [0, '0 s'],
  [59_400, '59 s'],
  [60_000, '1 min'],
  [3_599_000, '59 min'],
  [3_600_000, '1 h'],
  [7_500_000, '2 h 5 min'],
  [4 * 86_400_000, '4 d'],
  [-5, '0 s'],
]);

table('countdown', f.countdown, [
  [-1, '0:00'],
  [7_200, '0:08'],
  [760_000, '12:40'],
  [3_723_000, '1:02:03'],
]);

table('tokens', f.tokens, [
  ['0', '0.000'],
  ['1', 'less than 0.001'],
  ['1234567000000000000000', '1,234.567'],
  ['0xde0b6b3a7640000', '1.000'],
  ['garbage', 'unknown'],
]);

table('offNominal', f.offNominal, [
  [1, 'at nominal'],
  [1.0251, '2.5 % above'],
  [0.9, '10.0 % below'],
]);

table('shortHash', f.shortHash, [
  ['0x12ab00000000009f3c', '0x12ab…9f3c'],
  ['0x12ab', '0x12ab'],
]);

test('slots are shown in the time of the browser', () => {
  const slot = f.slotOf(Date.UTC(2016, 6, 20, 12, 15));
  expect(f.slotRange(slot)).toBe('14:15–14:30');
  expect(f.span(slot, slot + 7)).toBe('14:15–16:15');
});

test('a day has the slots of its local day, also when the clock changes', () => {
  expect(f.slotsOfDay(Date.UTC(2016, 6, 20, 12))).toHaveLength(96);
  expect(f.slotsOfDay(Date.UTC(2016, 2, 27, 12))).toHaveLength(92);
  expect(f.slotsOfDay(Date.UTC(2016, 9, 30, 12))).toHaveLength(100);
  expect(f.slotStart(f.slotsOfDay(Date.UTC(2016, 6, 20, 12))[0]!)).toBe(Date.UTC(2016, 6, 19, 22));
});

test('a moment of another day carries its day', () => {
  const noon = Date.UTC(2016, 6, 20, 10);
  expect(f.moment(noon, noon)).toBe('12:00');
  expect(f.moment(noon - 86_400_000, noon)).toBe('Tue 19 Jul 12:00');
});

test('the share that stayed in the street is said once', () => {
  expect(spaced(f.shareWords(312, 0, 'from'))).toBe('312 Wh from the grid');
  expect(spaced(f.shareWords(312, 312, 'to'))).toBe('312 Wh to neighbours');
  expect(spaced(f.shareWords(312, 80, 'from'))).toBe('312 Wh, 80 Wh of it from neighbours');
});

test('the fallback names its reason', () => {
  expect(f.method({ method: 'lp' })).toContain('linear programme');
  expect(f.method({ method: 'merit order: solver deadline' })).toBe('exact merit order, because solver deadline');
});
