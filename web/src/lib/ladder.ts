// How well slots were answered, in words: exactly, or a rung further down.

import type { Ladder } from './api';
import { count } from './format';

const total = ({ lp, exact, envelopes, shared }: Ladder) => lp + exact + envelopes + shared;

/** `All 41 slots of today were cleared exactly; none fell back.` */
export function ladderSentence(today: Ladder, ever: Ladder): string {
  const all = total(today);
  if (all === 0) return 'No slot of today is cleared yet.';
  const fell = today.envelopes + today.shared;
  const before = ever.envelopes + ever.shared - fell;
  const past = before > 0 ? ` On earlier days ${count(before, 'slot')} of ${(total(ever) - all).toLocaleString('en')} fell back.` : '';
  if (fell === 0) return `${all === 1 ? 'The one slot of today was' : `All ${all} slots of today were`} cleared exactly; none fell back.${past}`;
  const kinds = [
    today.envelopes > 0 ? `${today.envelopes} within each connection’s own limits, because the grid was not known` : '',
    today.shared > 0 ? `${today.shared} without a market: energy is shared at the middle price` : '',
  ].filter(Boolean);
  return `Of ${count(all, 'slot')} of today, ${all - fell} ${all - fell === 1 ? 'was' : 'were'} cleared exactly, ${kinds.join(', and ')}.${past}`;
}
