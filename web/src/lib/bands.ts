// What a voltage and a loading mean: the steps behind the colours, shapes and words of the feeder.

import type { Branch, Bus, Feeder } from './api';

export type Level = 'unknown' | 'below' | 'lower' | 'nominal' | 'higher' | 'above';
export type Strain = 'unknown' | 'light' | 'fair' | 'busy' | 'full' | 'over';

export const levelWords: Record<Level, string> = { unknown: 'not known', below: '▼ too low', lower: '− lower', nominal: 'nominal', higher: '+ higher', above: '▲ too high' };
export const strainWords: Record<Strain, string> = { unknown: 'not known', light: 'light', fair: 'moderate', busy: 'busy', full: 'nearly full', over: 'overloaded' };

/**
 * How far from the middle to a limit a voltage counts as nominal. With the usual ±10 % that is ±3 %,
 * about what a healthy low-voltage feeder keeps to: wider, and every street would be of one colour.
 */
const NOMINAL_SHARE = 0.3;

/** The edges of the nominal band, in pu. */
export function nominalBand({ low_pu, high_pu }: Feeder['limits']): { from: number; to: number } {
  const middle = (low_pu + high_pu) / 2;
  const reach = (NOMINAL_SHARE * (high_pu - low_pu)) / 2;
  return { from: middle - reach, to: middle + reach };
}

/** Whether a limit is broken is the server's word; inside the limits the nominal band divides. */
export function level(bus: Bus, limits: Feeder['limits']): Level {
  if (bus.vm_pu === null || bus.band === 'unknown') return 'unknown';
  if (bus.band === 'low') return 'below';
  if (bus.band === 'high') return 'above';
  const { from, to } = nominalBand(limits);
  if (bus.vm_pu < from) return 'lower';
  return bus.vm_pu > to ? 'higher' : 'nominal';
}

/** What the key says of each level: its range in pu, without more digits than it has. */
export function levelRanges(limits: Feeder['limits']): Record<Exclude<Level, 'unknown'>, string> {
  const { from, to } = nominalBand(limits);
  const [low, high] = [pu(limits.low_pu), pu(limits.high_pu)];
  return { below: `below ${low}`, lower: `${low}–${pu(from)}`, nominal: `${pu(from)}–${pu(to)}`, higher: `${pu(to)}–${high}`, above: `above ${high}` };
}

const pu = (value: number) => value.toFixed(3).replace(/0$/, '');

/** What a branch's loading means: colour and width for the eye, a word for everyone. */
export function strain(branch: Pick<Branch, 'loading_percent'>): Strain {
  const loading = branch.loading_percent;
  if (loading === null) return 'unknown';
  if (loading > 100) return 'over';
  if (loading >= 80) return 'full';
  if (loading >= 50) return 'busy';
  return loading >= 25 ? 'fair' : 'light';
}

/** Nearly full or worse: the branches that are named as trouble. */
export const strained = (branch: Pick<Branch, 'loading_percent'>) => (branch.loading_percent ?? 0) >= 80;

/** Thickness of a branch in px; on a small drawing it must not hide the buses. */
export const thickness = (loadingPercent: number | null, small = false) => (loadingPercent === null ? 6 : 2.5 + Math.min(loadingPercent, 120) / (small ? 20 : 10));

/** Levels differ in shape too: a disc within the limits, triangles outside. */
export function outline(of: Level, r: number): string {
  if (of === 'above') return `M0 ${-r * 1.5}L${r * 1.3} ${r}H${-r * 1.3}z`;
  if (of === 'below') return `M0 ${r * 1.5}L${r * 1.3} ${-r}H${-r * 1.3}z`;
  return `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
}

/** The sign inside the disc: plus above the nominal band, minus below it. */
export function sign(of: Level, r: number): string | null {
  const arm = r * 0.5;
  if (of === 'lower') return `M${-arm} 0H${arm}`;
  return of === 'higher' ? `M${-arm} 0H${arm}M0 ${-arm}V${arm}` : null;
}
