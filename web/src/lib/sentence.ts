// The first line of every page: what is going on, said in words made from live data.

import type { AnchorSummary, Feeder, Household, HouseholdDetail, SlotSummary, StatementVersion, Street } from './api';
import { fresh, householdBalance, liveBalance, type StreetBalance, type Tone } from './flow';
import { NBSP, age, clock, count, energy, fineMoney, money, moment, offNominal, percent, power, price, slotRange, slotStart, span } from './format';

/** Plain words, or words in the colour of what they speak about. */
export type Part = string | { text: string; tone: Tone };
export type Sentence = Part[];

/** The sentence without its colours. */
export const plain = (sentence: Sentence) => sentence.map((part) => (typeof part === 'string' ? part : part.text)).join('');

const tone = (name: Tone, text: string): Part => ({ text, tone: name });

/** Below this a flow is not worth a word (W). */
const QUIET_W = 50;

/** `makes 31 kW and needs 24`: the second unit only when it differs. */
function makesAndNeeds(makes: number, needs: number): Sentence {
  const first = power(makes);
  const second = power(needs);
  const unit = first.slice(first.indexOf(NBSP));
  return ['makes ', tone('sun', first), ' and needs ', tone('home', second.endsWith(unit) && unit === `${NBSP}kW` ? second.slice(0, -unit.length) : second)];
}

export function streetSentence(street: Street): Sentence {
  const { last, currency } = street;
  const now = liveBalance(street.live);
  if (!now) return silentStreet(street);
  const tariff = street.offers.at(0) ?? last;
  const dark = now.sun < QUIET_W;
  const parts: Sentence = dark ? ['No sun. '] : ['The street ', ...makesAndNeeds(now.sun, now.home), '. '];
  const subject = dark ? 'The street' : 'It';
  const acts = streetActs(now, last?.price ?? null, currency);
  if (acts.length === 0) return [...parts, `${subject} needs nothing from the grid.`];
  parts.push(`${subject} `);
  acts.forEach((act, i) => parts.push(...(i === 0 ? [] : [i === acts.length - 1 ? ' and ' : ', ']), ...act));
  if (tariff && now.gridIn >= QUIET_W) parts.push(` at ${price(tariff.retail, currency)}`);
  else if (tariff && now.gridOut >= QUIET_W) parts.push(` at ${price(tariff.feed_in, currency)}`);
  return [...parts, '.'];
}

function streetActs(now: StreetBalance, local: number | null, currency: string): Sentence[] {
  const acts: Sentence[] = [];
  if (now.discharge >= QUIET_W) acts.push(['draws ', tone('battery', power(now.discharge)), ' from batteries']);
  if (now.charge >= QUIET_W) acts.push(['stores ', tone('battery', power(now.charge))]);
  if (now.shared >= QUIET_W) acts.push(['passes ', tone('near', power(now.shared)), ` between neighbours${local === null ? '' : ` at ${price(local, currency)}`}`]);
  if (now.gridIn >= QUIET_W) acts.push(['buys ', tone('grid', power(now.gridIn)), ' from the grid']);
  else if (now.gridOut >= QUIET_W) acts.push(['sells ', tone('grid', power(now.gridOut)), ' to the grid']);
  return acts;
}

function silentStreet({ last, live, currency }: Street): Sentence {
  if (!last) return [`No meter of the ${count(live.households, 'home')} has spoken yet.`];
  return ['No meter speaks right now. ', ...slotSentence(last, currency)];
}

export function slotSentence(slot: SlotSummary, currency: string): Sentence {
  const when = `From ${clock(slotStart(slot.slot))} to ${clock(slotStart(slot.slot + 1))}`;
  const local = slot.local_wh ?? slot.cleared_wh;
  const verb = slot.state === 'settled' ? 'went' : 'will go';
  if (local === 0) {
    const bought = slot.grid_import_wh === null ? '' : `; the grid delivered ${energy(slot.grid_import_wh)}`;
    return [`${when} nothing ${verb} between neighbours${bought}.`];
  }
  const at = slot.price !== null ? ` at ${price(slot.price, currency)}` : slot.members ? `; members pay ${price(slot.members.buy, currency)} and get ${price(slot.members.sell, currency)}` : '';
  return [`${when}, `, tone('near', energy(local)), ` ${verb} from neighbour to neighbour${at}.`];
}

export function homesSentence(homes: Household[], speed: number): Sentence {
  const known = homes.filter((home) => fresh(home.live, speed)?.power_w != null);
  const selling = known.filter((home) => (home.live?.power_w ?? 0) < -QUIET_W).length;
  const buying = known.filter((home) => (home.live?.power_w ?? 0) > QUIET_W).length;
  const silent = homes.length - known.length;
  const failed = homes.filter((home) => home.audit === 'failed').length;
  const parts: Sentence = [`Of ${count(homes.length, 'home')}, `, tone('near', `${selling} ${selling === 1 ? 'sells' : 'sell'}`), ' and ', tone('grid', `${buying} ${buying === 1 ? 'buys' : 'buy'}`), ' right now'];
  if (silent > 0) parts.push(', ', tone('bad', `${silent} ${silent === 1 ? 'is' : 'are'} silent`));
  parts.push('. ');
  if (failed > 0) parts.push(tone('bad', `${count(failed, 'bill')} failed ${failed === 1 ? 'its' : 'their'} check.`));
  else parts.push('No bill has failed its check.');
  return parts;
}

export function homeSentence(home: HouseholdDetail, currency: string, speed: number): Sentence {
  const balance = householdBalance(fresh(home.live, speed));
  const parts: Sentence = [`${home.name} `];
  if (!balance) parts.push('is silent: ', tone('bad', home.meter.last_reading_ms === null ? 'no reading yet' : `no data since ${clock(home.meter.last_reading_ms)}`), '.');
  else {
    if (balance.sun >= QUIET_W) parts.push(...makesAndNeeds(balance.sun, Math.max(0, balance.home)));
    else parts.push('needs ', tone('home', power(Math.max(0, balance.home))));
    const acts: Sentence[] = [];
    if (balance.charge >= QUIET_W) acts.push(['charges ', tone('battery', power(balance.charge))]);
    if (balance.discharge >= QUIET_W) acts.push(['draws ', tone('battery', power(balance.discharge)), ' from its battery']);
    if (balance.sold >= QUIET_W) acts.push(['sells ', tone('near', power(balance.sold))]);
    if (balance.bought >= QUIET_W && (balance.sun >= QUIET_W || acts.length > 0)) acts.push(['buys ', tone('grid', power(balance.bought))]);
    acts.forEach((act, i) => parts.push(i === 0 ? '. It ' : ' and ', ...act));
    parts.push('.');
  }
  const last = home.statements.at(0);
  if (last) parts.push(' ', ...billSentence(last, currency));
  return parts;
}

function billSentence(row: HouseholdDetail['statements'][number], currency: string): Sentence {
  const when = `From ${clock(slotStart(row.slot))} to ${clock(slotStart(row.slot + 1))} it`;
  if (!row.measured) return [`From ${clock(slotStart(row.slot))} to ${clock(slotStart(row.slot + 1))} its meter was silent; the slot is settled again when it speaks.`];
  const saved = row.alone_nano - row.amount_nano;
  const gain = saved > 0 ? [', ', tone('near', `${money(saved, currency)} better`), ' than alone.'] : ['.'];
  if (row.amount_nano < 0) return [`${when} earned ${money(row.amount_nano, currency)}`, ...gain];
  if (row.amount_nano > 0) return [`${when} paid ${money(row.amount_nano, currency)}`, ...gain];
  return [`${when} neither paid nor earned.`];
}

/** Each time that a slot was settled again: when, why, and what that moved. */
export function againWords(versions: StatementVersion[], currency: string, nowMs: number): string[] {
  return versions.slice(1).map((now, i) => {
    const before = versions[i]!;
    const others = before.missing - now.missing - (now.measured && !before.measured ? 1 : 0);
    const whose = [
      now.measured && !before.measured ? "this home's meter" : '',
      others > 0 ? (others === 1 ? "a neighbour's meter" : `${others} neighbours' meters`) : '',
    ].filter(Boolean);
    const moved = now.amount_nano - before.amount_nano;
    const effect = moved === 0 ? 'the bill stayed the same' : `${fineMoney(moved)} ${currency} ${moved > 0 ? 'more' : 'less'} to pay`;
    return `settled again ${moment(now.time_ms, nowMs)}, because ${whose.join(' and ')} came late: ${effect}`;
  });
}

export function feederSentence(feeder: Feeder): Sentence {
  const known = feeder.buses.filter((bus) => bus.vm_pu !== null);
  if (known.length === 0) return ['The feeder is drawn from its plans; no voltage is known yet.'];
  const off = feeder.buses.filter((bus) => bus.band === 'low' || bus.band === 'high');
  const over = feeder.branches.filter((branch) => (branch.loading_percent ?? 0) > 100);
  const voltages = known.map((bus) => bus.vm_pu ?? 1);
  const parts: Sentence = [];
  if (off.length === 0 && over.length === 0) parts.push(`All ${known.length} buses are within limits, from ${offNominal(Math.min(...voltages))} to ${offNominal(Math.max(...voltages))} nominal.`);
  if (off.length > 0) parts.push(tone('bad', `${count(off.length, 'bus', 'buses')} ${off.length === 1 ? 'is' : 'are'} outside the voltage limits.`));
  if (over.length > 0) parts.push(off.length > 0 ? ' ' : '', tone('bad', `${count(over.length, 'branch', 'branches')} ${over.length === 1 ? 'carries' : 'carry'} more than rated.`));
  const transformer = feeder.branches.find((branch) => branch.kind === 'transformer');
  if (transformer?.loading_percent != null) {
    const carries = transformer.p_w === null ? '' : `${power(transformer.p_w)} ${transformer.p_w < 0 ? 'back to the grid' : 'to the homes'}, `;
    parts.push(` The transformer carries ${carries}${percent(transformer.loading_percent)} of its rating.`);
  }
  return parts;
}

export function chainSentence(anchors: AnchorSummary[], nowMs: number): Sentence {
  const newest = anchors.at(0);
  if (!newest) return ['Nothing is anchored yet; the first epoch is still being filled.'];
  const final = anchors.find((anchor) => anchor.state === 'final');
  if (!final) return [`The first epoch, ${span(newest.from_slot, newest.to_slot)}, is on its way to the chain.`];
  const when = final.final_ms === null ? '' : `, ${age(nowMs - final.final_ms)}`;
  const parts: Sentence = ['Everything up to ', tone('near', moment(slotStart(final.to_slot + 1), nowMs)), ` is anchored`];
  parts.push(final.block === null ? '' : ` in block ${final.block.toLocaleString('en')}`, when, '.');
  const waiting = anchors.filter((anchor) => anchor.state !== 'final').length;
  if (waiting > 0) parts.push(` ${count(waiting, 'epoch')} ${waiting === 1 ? 'is' : 'are'} on the way.`);
  return parts;
}

/** What the Sankey shows, for those who hear it. */
export const slotLabel = (slot: SlotSummary) => `${slot.state === 'settled' ? 'Settled' : 'Cleared'} ${slotRange(slot.slot)}`;
