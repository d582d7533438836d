// Quantities in people's words: always with a unit, never with a bare sign.

import type { SlotSummary } from './api';

export const SLOT_MS = 900_000;
const WH_PER_KWH = 1_000;
/** Keeps a number and its unit on one line. */
export const NBSP = '\u00a0';

const number = (value: number, digits: number) =>
  value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** Power without direction: `840 W`, `1.8 kW`, `31 kW`. The words around it say which way it flows. */
export function power(w: number): string {
  const size = Math.abs(w);
  if (size < 995) return `${number(size, 0)}${NBSP}W`;
  return `${number(size / 1000, size < 9_950 ? 1 : 0)}${NBSP}kW`;
}

/** Power with one more digit, for readouts. */
export function finePower(w: number): string {
  const size = Math.abs(w);
  if (size < 1000) return `${number(size, 0)}${NBSP}W`;
  return `${number(size / 1000, size < 10_000 ? 2 : 1)}${NBSP}kW`;
}

/** Energy without direction: `842 Wh`, `1.84 kWh`, `18.4 kWh`. */
export function energy(wh: number): string {
  const size = Math.abs(wh);
  if (size < 1000) return `${number(size, 0)}${NBSP}Wh`;
  if (size < 1_000_000) return `${number(size / WH_PER_KWH, size < 10_000 ? 2 : 1)}${NBSP}kWh`;
  return `${number(size / 1_000_000, 2)}${NBSP}MWh`;
}

/** Exact kWh for a column whose head says kWh. */
export const kwh = (wh: number) => number(wh / WH_PER_KWH, 3);

const MINOR: Record<string, string> = { EUR: 'ct', USD: '¢', GBP: 'p', CHF: 'Rp.' };

/** The hundredth of a currency, as people say it. */
export const minorUnit = (currency: string) => MINOR[currency] ?? 'ct';

/** Price in hundredths of the currency per kWh. */
export const centsPerKwh = (nanoPerWh: number) => nanoPerWh / 10_000;

/** `19.4 ct`, for sentences that have said kWh or need not. */
export const price = (nanoPerWh: number, currency: string) =>
  `${number(centsPerKwh(nanoPerWh), 1)}${NBSP}${minorUnit(currency)}`;

/** `19.4 ct` to `19.425 ct`: as many digits as there are, for limits that must not be rounded. */
export const exactPrice = (nanoPerWh: number, currency: string) =>
  `${centsPerKwh(nanoPerWh).toLocaleString('en', { minimumFractionDigits: 1, maximumFractionDigits: 4 })}${NBSP}${minorUnit(currency)}`;

/** `19.425 ct/kWh`: up to three digits, the full tick. */
export const finePrice = (nanoPerWh: number, currency: string) =>
  `${centsPerKwh(nanoPerWh).toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 4 })}${NBSP}${minorUnit(currency)}/kWh`;

/** Money without direction: `€1.23`, and below a hundredth `0.42 ct`. */
export function money(nano: number, currency: string): string {
  const size = Math.abs(nano);
  if (size > 0 && size < 10_000_000) return `${number(size / 10_000_000, 2)}${NBSP}${minorUnit(currency)}`;
  try {
    return (size / 1e9).toLocaleString('en', { style: 'currency', currency });
  } catch {
    return `${number(size / 1e9, 2)}${NBSP}${currency}`;
  }
}

/** Money with four digits of the currency, for bills. */
export const fineMoney = (nano: number) => number(Math.abs(nano) / 1e9, 4);

const clockFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const secondsFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayFormat = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short' });
const longDayFormat = new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });

export const clock = (ms: number) => clockFormat.format(ms);
export const clockWithSeconds = (ms: number) => secondsFormat.format(ms);
// Versions of the language data differ in a comma.
export const day = (ms: number) => dayFormat.format(ms).replace(',', '');
export const longDay = (ms: number) => longDayFormat.format(ms).replace(',', '');

export const slotStart = (slot: number) => slot * SLOT_MS;
export const slotOf = (ms: number) => Math.floor(ms / SLOT_MS);

/** `14:15–14:30`. */
export const slotRange = (slot: number) => span(slot, slot);

/** First to last slot, both included: `10:00–12:00`. */
export const span = (from: number, to: number) => `${clock(slotStart(from))}–${clock(slotStart(to + 1))}`;

/** A time, with its day when that is not today's. */
export const moment = (ms: number, nowMs: number) => (day(ms) === day(nowMs) ? clock(ms) : `${day(ms)} ${clock(ms)}`);

/** A length of time, two units at most: `8 s`, `3 min`, `2 h 5 min`, `4 d`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds}${NBSP}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}${NBSP}min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 === 0 ? `${hours}${NBSP}h` : `${hours}${NBSP}h ${minutes % 60}${NBSP}min`;
  return `${Math.floor(hours / 24)}${NBSP}d`;
}

/** How long ago: `just now`, `8 s ago`. */
export const age = (ms: number) => (ms < 1500 ? 'just now' : `${duration(ms)}${NBSP}ago`);

/** A countdown that keeps its width: `0:08`, `12:40`, `1:02:03`. */
export function countdown(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const two = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const rest = `${hours ? two(Math.floor((seconds % 3600) / 60)) : Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

/** `0x12ab…9f3c`. */
export const shortHash = (hash: string) => (hash.length > 14 ? `${hash.slice(0, 6)}…${hash.slice(-4)}` : hash);

/** Tokens from their 10^-18 parts, given as decimal or 0x text. */
export function tokens(parts: string): string {
  let all: bigint;
  try {
    all = BigInt(parts);
  } catch {
    return 'unknown';
  }
  const milli = all / 10n ** 15n;
  if (milli === 0n && all > 0n) return 'less than 0.001';
  return `${(milli / 1000n).toLocaleString('en')}.${String(milli % 1000n).padStart(3, '0')}`;
}

/** Voltage against nominal, in words: `1.2 % above`, `at nominal`. */
export function offNominal(pu: number): string {
  const percent = (pu - 1) * 100;
  if (Math.abs(percent) < 0.05) return 'at nominal';
  return `${number(Math.abs(percent), 1)}${NBSP}% ${percent > 0 ? 'above' : 'below'}`;
}

export const percent = (value: number) => `${number(value, value < 9.95 ? 1 : 0)}${NBSP}%`;

/** `1 home`, `41 homes`. */
export const count = (n: number, one: string, many = `${one}s`) => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;

/** Midnight before `ms` in this browser's time zone, and `days` further. */
export function midnight(ms: number, days = 0): number {
  const date = new Date(ms);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime();
}

/** Midnight UTC before `ms`: where the controller's sums of the day begin. */
export const midnightUtc = (ms: number) => Math.floor(ms / 86_400_000) * 86_400_000;

/** The slots of the local day that contains `ms`; 92 to 100 of them. */
export function slotsOfDay(ms: number): number[] {
  const first = slotOf(midnight(ms));
  const end = slotOf(midnight(ms, 1));
  return Array.from({ length: end - first }, (_, i) => first + i);
}

/** `312 Wh from neighbours`, `312 Wh from the grid`, `312 Wh, 80 Wh of it from neighbours`. */
export function shareWords(wh: number, local: number, way: 'from' | 'to'): string {
  if (local <= 0) return `${energy(wh)} ${way} the grid`;
  return local >= wh ? `${energy(wh)} ${way} neighbours` : `${energy(wh)}, ${energy(local)} of it ${way} neighbours`;
}

/** How the price of a slot came about, in words. */
export function method(slot: Pick<SlotSummary, 'method'>): string {
  if (slot.method === 'lp') return 'linear programme, checked in whole numbers';
  return slot.method.replace(/^merit order: ?/, 'exact merit order, because ');
}
