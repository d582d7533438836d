// What happened to a meter, and how its readings came about, in the words of whoever lives with it.

import type { MeterEvent, Quality } from './api';
import { clock, day, energy, slotStart } from './format';

const MWH_PER_WH = 1_000;
const wh = (mwh: number) => energy(mwh / MWH_PER_WH);

/** Which counter: in words where it is one of the grid connection. */
function counter(register: string): string {
  if (register === 'import') return 'the counter of what you buy';
  if (register === 'export') return 'the counter of what you sell';
  if (register.startsWith('produced.')) return `the counter of ${register.slice('produced.'.length)}`;
  return `the ${register}`;
}

/** How long, in the largest unit that is not zero. */
function span(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1_000);
  if (seconds < 120) return `${seconds} seconds`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
}

const at = (slot: number) => `${day(slotStart(slot + 1))}, ${clock(slotStart(slot + 1))}`;

/** One sentence: what happened, and what it means for the bill. */
export function eventWords({ register, kind, before, after, times }: MeterEvent): string {
  const what = counter(register);
  const often = times > 1 ? `, ${times} times` : '';
  const start = what.charAt(0).toUpperCase() + what.slice(1);
  switch (kind) {
    case 'exchange':
      return `Your meter was exchanged: ${what} went on from ${wh(after)}.`;
    case 'reset':
      return `${start} fell from ${wh(before)} to ${wh(after)} and stayed there; counting went on from there.`;
    case 'return':
      return `${start} came back to ${wh(after)}; what it had counted meanwhile is billed.`;
    case 'rollover':
      return `${start} passed its last digit and began again; nothing is lost.`;
    case 'zero':
      return `${start} showed nothing for a while${often}; it was not believed.`;
    case 'implausible':
      return `${start} showed ${wh(after)} after ${wh(before)}${often}, which your connection cannot carry; it was not believed.`;
    case 'dip':
      return `${start} fell back by ${wh(before - after)}${often}; its highest value stood.`;
    case 'jump':
      return `${start} jumped by ${wh(after - before)}. That is put aside until you confirm it at your agent.`;
    case 'confirmed':
      return `You confirmed a jump: ${wh(after - before)} were added to ${what}.`;
    case 'gap':
      return `Power was not measured for ${span(after - before)}; what flowed then is not known.`;
    case 'clock step':
      return `The agent's clock was set by ${span(after - before)}.`;
    case 'clock drift':
      return `Your meter's clock is ${span(after)} ${after < 0 ? 'behind' : 'ahead'}; it is not used.`;
    case 'overflow':
      return `The agent's journal was full: no readings were made from ${at(before)} to ${at(after)}. Their energy is in the reading after.`;
    case 'cut':
      return 'A power failure cut the agent’s journal short; nothing that was sent is lost.';
    default:
      return `${start}: ${kind}.`;
  }
}

const QUALITIES: Record<Quality | 'missing', string> = {
  measured: 'read at both ends of the slot',
  bridged: 'the sum of several slots',
  integrated: 'summed up from power',
  substituted: 'the counter was behind; its highest value stands in',
  missing: 'not known',
};

/** How a reading came about; nothing for the usual way. */
export const qualityWords = (quality: Quality | 'missing' | null): string | null =>
  quality === null || quality === 'measured' ? null : (QUALITIES[quality] ?? quality);
