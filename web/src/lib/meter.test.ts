import { describe, expect, test } from 'vitest';
import type { MeterEvent } from './api';
import { NBSP, slotOf } from './format';
import { eventWords, qualityWords } from './meter';

const SLOT = slotOf(Date.UTC(2026, 2, 12, 14));
const event = (given: Partial<MeterEvent>): MeterEvent => ({ slot: SLOT, register: 'import', kind: 'dip', before: 0, after: 0, times: 1, time_ms: 0, ...given });
const say = (given: Partial<MeterEvent>) => eventWords(event(given)).replaceAll(NBSP, ' ');

describe('what happened to a meter', () => {
  const rows: [Partial<MeterEvent>, string][] = [
    [{ kind: 'exchange', before: 9_000_000_000, after: 12_000 }, 'Your meter was exchanged: the counter of what you buy went on from 12 Wh.'],
    [{ kind: 'dip', register: 'export', before: 5_000_000, after: 4_900_000, times: 3 }, 'The counter of what you sell fell back by 100 Wh, 3 times; its highest value stood.'],
    [{ kind: 'zero', register: 'produced.roof' }, 'The counter of roof showed nothing for a while; it was not believed.'],
    [{ kind: 'jump', before: 1_000_000, after: 501_000_000 }, 'The counter of what you buy jumped by 500.0 kWh. That is put aside until you confirm it at your agent.'],
    [{ kind: 'gap', register: 'power', before: 0, after: 1_800_000 }, 'Power was not measured for 30 minutes; what flowed then is not known.'],
    [{ kind: 'clock drift', register: 'clock', after: -61_000 }, "Your meter's clock is 61 seconds behind; it is not used."],
    [{ kind: 'something new' }, 'The counter of what you buy: something new.'],
  ];
  test.each(rows)('%o', (given, words) => expect(say(given)).toBe(words));

  test('every kind has words of its own', () => {
    const kinds = ['rollover', 'zero', 'implausible', 'dip', 'reset', 'exchange', 'return', 'jump', 'confirmed', 'gap', 'clock step', 'clock drift', 'overflow', 'cut'];
    const all = kinds.map((kind) => say({ kind, before: SLOT, after: SLOT + 4 }));
    expect(new Set(all).size).toBe(kinds.length);
    for (const [index, words] of all.entries()) expect(words).not.toContain(`: ${kinds[index]}.`);
  });
});

test('only what is unusual is said of a reading', () => {
  expect(qualityWords('measured')).toBeNull();
  expect(qualityWords(null)).toBeNull();
  expect(qualityWords('bridged')).toBe('the sum of several slots');
  expect(qualityWords('missing')).toBe('not known');
});
