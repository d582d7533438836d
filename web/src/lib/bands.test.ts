import { describe, expect, test } from 'vitest';
import type { Bus } from './api';
import { level, levelRanges, levelWords, nominalBand, outline, sign, strain, strained, strainWords, thickness, type Level } from './bands';

const LIMITS = { low_pu: 0.9, high_pu: 1.1 };
const bus = (vm_pu: number | null, band: Bus['band'] = 'ok'): Bus => ({ id: 'b', parent: null, depth: 0, vm_pu, band, points: [] });

describe('voltage', () => {
  const rows: [number | null, Bus['band'], Level][] = [
    [null, 'unknown', 'unknown'],
    [null, 'ok', 'unknown'],
    [0.8999, 'low', 'below'],
    [0.9, 'ok', 'lower'],
    [0.9699, 'ok', 'lower'],
    [0.9701, 'ok', 'nominal'],
    [1, 'ok', 'nominal'],
    [1.0299, 'ok', 'nominal'],
    [1.0301, 'ok', 'higher'],
    [1.1, 'ok', 'higher'],
    [1.1001, 'high', 'above'],
  ];
  test.each(rows)('%s pu, %s is %s', (vm_pu, band, expected) => expect(level(bus(vm_pu, band), LIMITS)).toBe(expected));

  test('the bands follow the limits', () => {
    const { from, to } = nominalBand({ low_pu: 0.94, high_pu: 1.1 });
    expect([from, to].map((edge) => edge.toFixed(3))).toEqual(['0.996', '1.044']);
    expect(level(bus(0.99), { low_pu: 0.94, high_pu: 1.1 })).toBe('lower');
  });

  test('the key states every range', () => {
    expect(levelRanges(LIMITS)).toEqual({ below: 'below 0.90', lower: '0.90–0.97', nominal: '0.97–1.03', higher: '1.03–1.10', above: 'above 1.10' });
    expect(levelRanges({ low_pu: 0.94, high_pu: 1.1 }).nominal).toBe('0.996–1.044');
  });

  test('no two levels look alike without colour', () => {
    const levels: Level[] = ['below', 'lower', 'nominal', 'higher', 'above'];
    expect(new Set(levels.map((one) => `${outline(one, 8)} ${sign(one, 8)}`)).size).toBe(5);
    expect(new Set(Object.values(levelWords)).size).toBe(6);
  });
});

describe('loading', () => {
  test('every loading has a step and a word', () => {
    const steps = [null, 0, 24.9, 25, 49.9, 50, 79.9, 80, 100, 100.1].map((loading_percent) => strain({ loading_percent }));
    expect(steps).toEqual(['unknown', 'light', 'light', 'fair', 'fair', 'busy', 'busy', 'full', 'full', 'over']);
    for (const step of steps) expect(strainWords[step]).not.toBe('');
  });

  test('from 80 % it is trouble, and unknown is not', () => {
    expect([null, 0, 79.9, 80, 130].map((loading_percent) => strained({ loading_percent }))).toEqual([false, false, false, true, true]);
  });

  test('thicker when loaded, within bounds', () => {
    const widths = [0, 25, 50, 80, 120].map((loading) => thickness(loading));
    expect(widths).toEqual([...widths].sort((a, b) => a - b));
    expect(new Set(widths).size).toBe(5);
    expect(thickness(900)).toBe(thickness(120));
    expect(thickness(900, true)).toBeLessThan(10);
  });
});
