// What members pay each other, and whose energy was whose in law: said in words.

import type { StatementRow, StreetSharing } from './api';
import { energy, finePrice, money } from './format';

const RULES: Record<string, string> = {
  none: 'Everybody buys from and sells to the supplier alone.',
  auction: 'Everybody names a price; one price per quarter-hour makes the best match between neighbours.',
  'mid-market': 'Energy between neighbours costs the middle between the grid’s two prices. Nobody orders; the meters decide.',
  'supply-demand': 'One price for all: near the grid’s price while sun is scarce, near what the grid pays when there is plenty. Nobody orders; the meters decide.',
  'bill-sharing per interval': 'The street’s bill of each quarter-hour is split by use; energy between neighbours is free. Nobody orders; the meters decide.',
  'allocated at the middle': 'What the grid operator allocates costs the middle between the grid’s two prices; the rest is the supplier’s.',
};

const KEYS: Record<string, string> = {
  none: 'The grid operator allocates nothing: what members settle is all there is.',
  'pro-rata': 'The grid operator allocates the street’s sun by use: who needs more in a quarter-hour gets more of it.',
  static: 'The grid operator allocates a fixed part to everybody; what a member cannot use goes to the supplier or another round.',
  cascade: 'The grid operator serves members level by level, by use within a level.',
  hierarchical: 'The grid operator allocates inside the smallest groups first, then among everybody.',
  pairs: 'The grid operator allocates as neighbours traded, as far as both meters bear it out.',
};

const AGREED = /^allocated at (-?\d+)$/;

/** What the street's rule means, in a sentence. */
export function ruleWords(rule: string, currency: string): string {
  const agreed = AGREED.exec(rule);
  if (agreed) return `What the grid operator allocates costs ${finePrice(Number(agreed[1]), currency)}, as agreed; the rest is the supplier’s.`;
  return RULES[rule] ?? `Members share by “${rule}”.`;
}

/** What the legal key means, in a sentence. */
export const keyWords = (key: string) => KEYS[key] ?? `The grid operator allocates by “${key}”.`;

/** The fixed parts of a static key, largest first: `[point, percent]`. */
export function fixedParts({ form }: StreetSharing): [string, number][] {
  const key = form.key;
  if (typeof key !== 'object' || !key.static) return [];
  const parts = Object.entries(key.static.keys).map(([point, part]): [string, number] => [point, part / 10_000]);
  return parts.sort(([a, x], [b, y]) => y - x || a.localeCompare(b, 'en', { numeric: true }));
}

/** What law and neighbours made of some bills. */
export interface LegalSums {
  taken: number;
  given: number;
  imported: number;
  exported: number;
  residual: number;
  difference: number;
  shortfall: number;
  /** Slots that the grid operator has allocated. */
  slots: number;
}

/** Sums over the bills that a grid operator's key touches; null when there are none. */
export function legalSums(rows: StatementRow[]): LegalSums | null {
  const sums: LegalSums = { taken: 0, given: 0, imported: 0, exported: 0, residual: 0, difference: 0, shortfall: 0, slots: 0 };
  for (const row of rows) {
    const legal = row.sharing?.legal;
    if (!legal) continue;
    sums.slots += 1;
    sums.taken += legal.taken_wh;
    sums.given += legal.given_wh;
    sums.imported += row.import_wh;
    sums.exported += row.export_wh;
    sums.residual += legal.residual_nano;
    sums.difference += legal.difference_nano;
    sums.shortfall += legal.shortfall_nano;
  }
  return sums.slots > 0 ? sums : null;
}

const paysOrGets = (nano: number, currency: string) => (nano < 0 ? `get ${money(nano, currency)}` : `pay ${money(nano, currency)}`);

/** A day in law and among neighbours, in two or three sentences. */
export function legalWords(sums: LegalSums, currency: string): string[] {
  const energies = [
    ...(sums.imported > 0 ? [`${energy(sums.taken)} of the ${energy(sums.imported)} you used came from neighbours`] : []),
    ...(sums.exported > 0 ? [`${energy(sums.given)} of the ${energy(sums.exported)} you fed in went to neighbours`] : []),
  ];
  const law = energies.length > 0 ? `In law, ${energies.join(', and ')}.` : 'In law, nothing was allocated: your meter stood still.';
  const supplier = sums.residual === 0 ? 'The supplier bills you nothing.' : `For the rest you ${paysOrGets(sums.residual, currency)} ${sums.residual < 0 ? 'from' : 'to'} the supplier.`;
  const neighbours =
    sums.difference === 0
      ? 'With your neighbours you are even.'
      : `With your neighbours you settle the difference to the street’s own rule: you ${paysOrGets(sums.difference, currency)} ${sums.difference < 0 ? 'from' : 'to'} them.`;
  const cost = sums.shortfall > 0 ? [`In that, ${money(sums.shortfall, currency)} is your part of what the allocation leaves to the supplier.`] : [];
  return [law, supplier, neighbours, ...cost];
}
