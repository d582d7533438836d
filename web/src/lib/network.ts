// The network in a slot, in words: what was traded over it, who was full, and what the meters made of it.

import type { FeederSlot, TradedBranch } from './api';
import { NBSP, clock, count, energy, exactPrice, money, offNominal, slotStart } from './format';

/** How much of its limit a branch carried, in percent; null without a limit that way. */
export function used(branch: TradedBranch): number | null {
  const cap = branch.flow_wh < 0 ? branch.export_cap_wh : branch.import_cap_wh;
  if (cap === null) return null;
  return cap === 0 ? (branch.full ? 100 : 0) : (Math.abs(branch.flow_wh) / cap) * 100;
}

/** Full branches first, then those nearest to it. */
export const byUse = (branches: TradedBranch[]) => [...branches].sort((a, b) => Number(b.full) - Number(a.full) || (used(b) ?? -1) - (used(a) ?? -1) || Math.abs(b.flow_wh) - Math.abs(a.flow_wh));

export const towards = (branch: TradedBranch) => (branch.flow_wh === 0 ? '' : branch.flow_wh > 0 ? 'homes' : 'grid');

/** A branch with the limit 0 both ways carries nothing by rule; that is no news. */
const isFull = (branch: TradedBranch) => branch.full && (branch.import_cap_wh !== 0 || branch.export_cap_wh !== 0);

export function tradedSentence(of: FeederSlot, currency: string): string {
  const { traded } = of;
  const when = `From ${clock(slotStart(of.slot))} to ${clock(slotStart(of.slot + 1))}`;
  if (!traded) return `${when} the members traded as if at one bus: cables neither limited nor cost anything.`;
  if (traded.cleared_wh === 0) return `${when} nothing was traded, so no branch was used by the trade.`;
  const fees = traded.fees_nano === 0 ? 'no fee was due' : `fees brought ${money(traded.fees_nano, currency)}`;
  const sold = `${when} ${energy(traded.cleared_wh)} ${traded.cleared_wh === 1 ? 'was' : 'were'} traded over the network; ${fees}.`;
  const full = byUse(traded.branches).filter(isFull);
  if (full.length === 0) return `${sold} No branch was full, so congestion cost nothing.`;
  const names = full.slice(0, 3).map((branch) => `${branch.id} (${energy(branch.flow_wh)} towards the ${branch.flow_wh >= 0 ? 'homes' : 'grid'}${branch.congestion ? `, ${exactPrice(branch.congestion, currency)} a kWh` : ''})`);
  const more = full.length > 3 ? ` and ${full.length - 3} more` : '';
  const rent = traded.congestion_nano > 0 ? `; being full brought ${money(traded.congestion_nano, currency)}` : '';
  return `${sold} ${count(full.length, 'branch', 'branches')} ${full.length === 1 ? 'was' : 'were'} full: ${names.join(', ')}${more}${rent}.`;
}

const wh = (value: number) => `${value.toLocaleString('en', { maximumFractionDigits: Math.abs(value) < 100 ? 1 : 0 })}${NBSP}Wh`;

/** What the power flow of the metered energy found. */
export function deliveredSentence({ delivered }: FeederSlot): string {
  if (!delivered) return 'The meters of this slot are not settled yet; what was delivered over the network is not known.';
  const heard = delivered.reporting === delivered.households ? `all ${delivered.households} meters` : `${delivered.reporting} of ${delivered.households} meters`;
  if (delivered.losses_wh === null) return `By ${heard} the power flow has no solution.`;
  const assumed = delivered.assumed_losses_wh;
  const against = assumed === null ? '' : assumed === 0 ? '; the fees assume none' : `; the fees assume ${wh(assumed)}`;
  const { lowest, highest } = delivered;
  const volts = lowest && highest ? ` Voltages went from ${offNominal(lowest.vm_pu)} nominal at ${lowest.bus} to ${offNominal(highest.vm_pu)} at ${highest.bus}.` : '';
  return `By ${heard} and the exact power flow, the network lost ${wh(delivered.losses_wh)}${against}.${volts}`;
}
