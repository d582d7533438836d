import { expect, test } from 'vitest';
import type { Ladder } from './api';
import { ladderSentence } from './ladder';

const of = (lp: number, exact: number, envelopes = 0, shared = 0): Ladder => ({ lp, exact, envelopes, shared, degraded_ppm: null });

test.each([
  ['before the first', of(0, 0), of(9, 0), 'No slot of today is cleared yet.'],
  ['one', of(0, 1), of(0, 1), 'The one slot of today was cleared exactly; none fell back.'],
  ['all well', of(90, 6), of(190, 6), 'All 96 slots of today were cleared exactly; none fell back.'],
  ['earlier days', of(0, 10), of(0, 1_009, 0, 1), 'All 10 slots of today were cleared exactly; none fell back. On earlier days 1 slot of 1,000 fell back.'],
  ['no grid', of(0, 1, 2), of(0, 1, 2), 'Of 3 slots of today, 1 was cleared exactly, 2 within each connection’s own limits, because the grid was not known.'],
  ['both', of(3, 1, 1, 2), of(3, 1, 1, 2), 'Of 7 slots of today, 4 were cleared exactly, 1 within each connection’s own limits, because the grid was not known, and 2 without a market: energy is shared at the middle price.'],
])('%s', (_, today, ever, expected) => expect(ladderSentence(today, ever)).toBe(expected));
