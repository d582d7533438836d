// Why a price was what it was for one home, in a neighbour's words. Everything here is a function of
// what the controller found; nothing is reckoned again.

import type { PriceParts, SetBy, Why, WhyOrder, WhyStep } from './api';
import { clock, energy, exactPrice as cents, price as rough, slotStart } from './format';

/** A piece of the price's picture, from one price to another. */
export interface PriceBlock {
  kind: 'energy' | 'fee' | 'congestion';
  from: number;
  to: number;
  /** Whether this part is taken off the price instead of added. */
  off: boolean;
}

/** One part of the price: what it is, how much, and what for. */
export interface PartLine {
  kind: PriceBlock['kind'];
  name: string;
  value: string;
  what: string;
}

const when = (why: Why) => `From ${clock(slotStart(why.slot))} to ${clock(slotStart(why.slot + 1))}`;

/** Where a price lies between what the grid pays and what it asks, as a share of the picture's width. */
export function scale(why: Why): (price: number) => number {
  const blocks = why.parts ? priceBlocks(why.parts) : [];
  const all = [0, why.feed_in, why.retail, ...blocks.flatMap((one) => [one.from, one.to])];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const reach = Math.max(1, high - low) * 1.04;
  return (price) => (price - low) / reach;
}

/** The parts side by side: those that add stand one after the other, those that take off overlap the end. */
export function priceBlocks(parts: PriceParts): PriceBlock[] {
  const blocks: PriceBlock[] = [{ kind: 'energy', from: 0, to: parts.energy, off: false }];
  let end = parts.energy;
  for (const [kind, part] of [['fee', parts.grid_fee], ['congestion', parts.congestion]] as const) {
    if (part === 0) continue;
    blocks.push({ kind, from: end, to: end + part, off: part < 0 });
    end += part;
  }
  return blocks;
}

const SHARED: [string, string][] = [
  ['mid-market', 'neighbours pay each other the middle of what the grid asks and pays'],
  ['supply-demand', 'neighbours pay each other one price, which falls from what the grid asks to what it pays the more energy there is for the need'],
  ['bill-sharing', 'energy inside the street is free, and what the street pays outside is shared by energy'],
  ['allocated', 'what the grid operator allocates is paid at the price that the members agreed on'],
  ['none', 'everybody is alone with the grid'],
];

/** How members pay each other where nothing is auctioned. */
export function ruleSentence(why: Why): string {
  const known = SHARED.find(([name]) => why.rule.startsWith(name));
  return `${when(why)} nothing was auctioned. This street shares by the rule “${why.rule}”: ${known?.[1] ?? 'see the community’s own words for it'}. No order is needed, and no limit decides.`;
}

/** The first line: what a kWh cost, and what became of the home's own orders. */
export function whySentence(why: Why, currency: string): string {
  if (why.rule !== 'auction') return ruleSentence(why);
  if (why.no_market !== null) return `${when(why)} there was no market: ${why.no_market}. What neighbours used of each other’s energy is shared at the middle of what the grid asks and pays.`;
  const traded = why.orders.map((order) => ({ side: order.side, wh: order.steps.reduce((sum, step) => sum + step.filled_wh, 0) })).filter(({ wh }) => wh > 0);
  const did = traded.map(({ side, wh }) => `${side === 'buy' ? 'bought' : 'sold'} ${energy(wh)}`).join(' and ');
  if (why.price === null) return `${when(why)} nothing was traded between neighbours${why.bus === null ? '' : ' around you'}, so there was no local price.`;
  const cost = `${when(why)} a kWh between neighbours cost ${rough(why.price, currency)}${why.bus === null ? '' : ' where you are'}`;
  if (did) return `${cost}, and you ${did} at that price.`;
  return why.orders.length > 0 ? `${cost}; none of what you ordered was traded.` : `${cost}; you had sent no order.`;
}

/** What the same kWh cost and earned without neighbours. */
export function bandSentence(why: Why, currency: string): string {
  return `The grid asked ${rough(why.retail, currency)} for a kWh and paid ${rough(why.feed_in, currency)}.`;
}

export function partLines(why: Why, currency: string): PartLine[] {
  const { parts, bus } = why;
  if (!parts) return [];
  const amount = (nano: number) => `${nano < 0 ? 'less ' : ''}${cents(Math.abs(nano), currency)}`;
  const place = parts.reference;
  const near = place === null || place === bus;
  const lines: PartLine[] = [
    { kind: 'energy', name: 'Energy', value: cents(parts.energy, currency), what: near ? 'what sellers and buyers agreed on' : `what sellers and buyers agreed on at bus ${place}, where your part of the street joins the rest` },
  ];
  if (bus === null) return lines;
  const fee =
    parts.grid_fee > 0 ? `for the cables between ${place} and you`
    : parts.grid_fee < 0 ? `energy flows from where you are to ${place}; the fee for that way is taken off`
    : near ? 'no cable between the trade and you' : 'the cables between are free of charge';
  // Of the full branches those count that keep energy from coming, or from going.
  const full = why.full.filter((one) => parts.congestion === 0 || one.towards === parts.congestion > 0).map((one) => one.name);
  const names = full.length === 0 ? 'a cable' : full.length === 1 ? `branch ${full[0]}` : `branches ${full.slice(0, -1).join(', ')} and ${full.at(-1)}`;
  const was = full.length > 1 ? 'were' : 'was';
  const congestion =
    parts.congestion > 0 ? `${names} ${was} full: not everybody behind could get the cheaper energy`
    : parts.congestion < 0 ? `${names} ${was} full: not everybody behind could sell what others would have bought`
    : full.length > 0 ? `${names} ${was} full, at no extra price here` : 'no cable on the way was full';
  lines.push({ kind: 'fee', name: 'Grid fee', value: parts.grid_fee === 0 ? 'none' : amount(parts.grid_fee), what: fee });
  lines.push({ kind: 'congestion', name: 'Congestion', value: parts.congestion === 0 ? 'none' : amount(parts.congestion), what: congestion });
  return lines;
}

/** Whose limit holds the price where it is. */
export function setBySentences(why: Why, currency: string): string[] {
  const { price, low, high } = why;
  if (why.no_market !== null) return [];
  if (price === null) return apart(why, currency);
  const same = low && high && low.price === high.price;
  if (same && low.side === high.side && low.limit === high.limit && low.own === high.own) return [`${who(low, currency, true)} set the price: it was ${low.side === 'sell' ? 'sold' : 'filled'} only in part.`];
  const said: string[] = [];
  if (same && low) said.push(`No other price would have fitted the orders than ${cents(low.price, currency)}.`);
  else if (low && high) said.push(`Any price from ${cents(low.price, currency)} to ${cents(high.price, currency)} would have fitted the same orders; the middle is taken.`);
  if (low) said.push(`Any lower, and ${keeps(low, currency, 'low')}.`);
  if (high) said.push(`Any higher, and ${keeps(high, currency, 'high')}.`);
  return said;
}

/** Without a trade: how far the nearest orders lay apart. */
function apart({ low, high }: Why, currency: string): string[] {
  const said: string[] = [];
  if (low) said.push(low.own ? `Nobody bid more than you, ${cents(low.limit, currency)}.` : `The best bid that could reach you was ${cents(low.price, currency)}.`);
  else said.push('Nobody who could be reached wanted to buy.');
  if (high) said.push(high.own ? `Nobody offered for less than you, ${cents(high.limit, currency)}.` : `The cheapest offer that could reach you was ${cents(high.price, currency)}.`);
  else said.push('Nobody who could be reached had energy to sell.');
  return said;
}

/** `A neighbour’s offer at 9.1 ct`, with what the way makes of it. */
function who(by: SetBy, currency: string, upper: boolean): string {
  const what = by.side === 'sell' ? 'offer' : 'bid';
  const whose = by.own ? `${upper ? 'Your' : 'your'} own ${what}` : `${upper ? 'A' : 'a'} neighbour’s ${what}`;
  const way = by.price === by.limit ? '' : ` (${cents(by.price, currency)} with the way to you)`;
  return `${whose} at ${cents(by.limit, currency)}${way}`;
}

function keeps(by: SetBy, currency: string, end: 'low' | 'high'): string {
  const order = who(by, currency, false);
  if (end === 'low') return by.filled ? `${order} would not have been sold` : `${order} would have wanted more than there was`;
  return by.filled ? `${order} would not have been made` : `${order} would have sold more than was wanted`;
}

/** What an own order wanted, got, and would have needed for more. */
export function orderSentence(why: Why, { side, steps }: WhyOrder, currency: string): string {
  const buys = side === 'buy';
  const sum = (pick: (step: WhyStep) => number) => steps.reduce((total, step) => total + pick(step), 0);
  const [wanted, filled] = [sum((step) => step.quantity_wh), sum((step) => step.filled_wh)];
  const limits = [steps.at(0)!.limit, steps.at(-1)!.limit].map((limit) => cents(limit, currency));
  const several = steps.length > 1;
  const range = several ? `, in ${steps.length} steps from ${limits[0]} to ${limits[1]}` : ` ${buys ? 'at up to' : 'for at least'} ${limits[0]}`;
  const did = buys ? 'bought' : 'sold';
  const got = filled === 0 ? `and ${did} nothing of it` : filled === wanted ? `and ${did} all of it` : `and ${did} ${energy(filled)}`;
  const order = `You ${buys ? 'bid for' : 'offered'} ${energy(wanted)}${range}${several ? ',' : ''} ${got}`;
  const left = steps.find((step) => step.rest !== null);
  return left ? `${order}: ${restWords(why, side, left, several, filled > 0, currency)}` : `${order}.`;
}

/** Why the most eager energy that was left over was, and what would have traded it. */
function restWords(why: Why, side: 'buy' | 'sell', step: WhyStep, several: boolean, some: boolean, currency: string): string {
  const buys = side === 'buy';
  const did = buys ? 'bought' : 'sold';
  const more = some ? ' more' : '';
  if (step.rest === 'no_market') return 'there was no market.';
  const at = cents(step.limit, currency);
  const limit = several ? `${some ? 'the next' : 'the first'} limit, ${at}` : 'your limit';
  const own = several ? `the limit of ${at}` : 'your limit';
  const reason =
    step.rest === 'limit' ? `the price was ${buys ? 'above' : 'below'} ${limit}`
    : step.rest === 'volume' ? `${own} was just the price, and there was not enough ${buys ? 'energy' : 'demand'} for all who had it, so they shared`
    : `no ${buys ? 'offer' : 'bid'} that could reach you met it`;
  if (step.would_trade_at === null) return `${reason}. At no limit would you have ${did}${more}${why.full.length > 0 ? ', because a cable was full' : ''}.`;
  return `${reason}. At ${cents(step.would_trade_at, currency)} or ${buys ? 'more' : 'less'} you would have ${did}${more}.`;
}

/** Energy that was metered on a side for which there was no order. */
export function missedSentence(missed: Why['missed'][number], currency: string): string {
  const buys = missed.side === 'buy';
  const metered = `You had sent no order to ${missed.side}, and your meter counted ${energy(missed.quantity_wh)} ${buys ? 'in' : 'out'}`;
  if (missed.would_trade_at === null) return `${metered}. No ${buys ? 'bid would have found a seller' : 'offer would have found a buyer'}.`;
  return `${metered}. ${buys ? 'A bid' : 'An offer'} at ${cents(missed.would_trade_at, currency)} or ${buys ? 'more' : 'less'} would have ${buys ? 'bought' : 'sold'} some of it.`;
}

/** What is said of a full branch around the home. */
export function fullSentence(branch: Why['full'][number]): string {
  const carried = branch.energy_wh === null ? '' : `: ${energy(branch.energy_wh)} in the quarter-hour`;
  return `Branch ${branch.name} carried all it may, ${branch.towards ? 'towards you' : 'away from you'}${carried}.`;
}
