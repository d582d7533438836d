// The day's prices: what the grid asks and pays as a band, the local price inside it, volume below.

import type { Offer, SlotSummary } from '../lib/api';
import { centsPerKwh, clock, energy, finePrice, minorUnit, slotRange, slotStart } from '../lib/format';
import { axisLabel, hatch, narrow, row, splitLine, tooltip, type Look } from './style';

export interface PriceDay {
  /** The slots of the day, in order. */
  days: number[];
  slots: SlotSummary[];
  offers: Offer[];
  /** The slot that runs now; earlier ones without data are hatched. */
  now: number;
  currency: string;
}

interface Cell {
  slot: number;
  known: SlotSummary | undefined;
  retail: number | null;
  feedIn: number | null;
  price: number | null;
  /** What giving earns, where a rule has two prices. */
  gets: number | null;
  volume: number | null;
  settled: boolean;
}

export function cells({ days, slots, offers }: PriceDay): Cell[] {
  const known = new Map(slots.map((slot) => [slot.slot, slot]));
  const offered = new Map(offers.map((offer) => [offer.slot, offer]));
  return days.map((slot) => {
    const one = known.get(slot);
    const tariff = one ?? offered.get(slot);
    return {
      slot,
      known: one,
      retail: tariff ? centsPerKwh(tariff.retail) : null,
      feedIn: tariff ? centsPerKwh(tariff.feed_in) : null,
      price: local(one, 'buy'),
      gets: one?.members == null ? null : local(one, 'sell'),
      volume: one ? (one.local_wh ?? one.cleared_wh) / 1000 : null,
      settled: one?.state === 'settled',
    };
  });
}

/** The auction's price, or what a rule makes members pay and get. */
function local(slot: SlotSummary | undefined, side: 'buy' | 'sell'): number | null {
  const nano = slot?.price ?? slot?.members?.[side];
  return nano == null ? null : centsPerKwh(nano);
}

export function prices(day: PriceDay, look: Look) {
  const { palette } = look;
  const all = cells(day);
  const stripes = hatch(palette.muted);
  const names = day.days.map((slot) => clock(slotStart(slot)));
  const gap = all.map((cell) => (!cell.known && cell.slot < day.now - 1 ? 1 : null));
  const left = narrow(look) ? 34 : 42;
  const step = { type: 'line', step: 'middle', symbol: 'none', connectNulls: false, emphasis: { disabled: true } };
  const plot = (index: number) => ({ xAxisIndex: index, yAxisIndex: index });
  return {
    animation: false,
    tooltip: {
      ...tooltip(look),
      trigger: 'axis',
      axisPointer: { type: 'line', lineStyle: { color: palette.muted, width: 1 } },
      formatter: (hits: { dataIndex: number }[]) => hint(all[hits[0]?.dataIndex ?? -1], day.currency, look),
    },
    axisPointer: { link: [{ xAxisIndex: 'all' }] },
    grid: [
      { left, right: 4, top: 24, height: '50%' },
      { left, right: 4, bottom: 24, height: '22%' },
    ],
    xAxis: [0, 1].map((index) => timeAxis(index, names, look)),
    yAxis: [
      valueAxis(0, `${minorUnit(day.currency)}/kWh`, look, 4),
      valueAxis(1, 'kWh', look, 2),
      { gridIndex: 0, show: false, max: 1, min: 0 },
      { gridIndex: 1, show: false, max: 1, min: 0 },
    ],
    series: [
      ...[0, 1].map((index) => ({ type: 'bar', xAxisIndex: index, yAxisIndex: index + 2, data: gap, barWidth: '100%', barGap: '-100%', itemStyle: { color: stripes }, silent: true })),
      { ...step, ...plot(0), data: all.map((cell) => cell.feedIn), stack: 'band', stackStrategy: 'all', lineStyle: { color: palette.tone.grid, width: 1.5, type: 'dashed' } },
      {
        ...step,
        ...plot(0),
        data: all.map((cell) => (cell.retail === null || cell.feedIn === null ? null : cell.retail - cell.feedIn)),
        stack: 'band',
        stackStrategy: 'all',
        lineStyle: { color: palette.tone.grid, width: 1.5 },
        areaStyle: { color: palette.tone.grid, opacity: 0.13 },
      },
      { ...step, ...plot(0), data: all.map((cell) => cell.price), lineStyle: { color: palette.tone.near, width: 3 }, z: 4 },
      { ...step, ...plot(0), data: all.map((cell) => cell.gets), lineStyle: { color: palette.tone.near, width: 2, type: 'dashed' }, z: 4 },
      {
        type: 'bar',
        ...plot(1),
        barWidth: '70%',
        barGap: '-100%',
        data: all.map((cell) => ({ value: cell.volume, itemStyle: { color: palette.tone.near, opacity: cell.settled ? 1 : 0.45 } })),
      },
    ],
  };
}

function timeAxis(index: number, names: string[], look: Look) {
  const hours = narrow(look) ? 6 : 3;
  return {
    type: 'category',
    gridIndex: index,
    data: names,
    axisTick: { show: false },
    axisLine: { lineStyle: { color: look.palette.line } },
    axisLabel: {
      ...axisLabel(look),
      show: index === 1,
      interval: (at: number, name: string) => name.endsWith(':00') && at < names.length - 3 && Number(name.slice(0, 2)) % hours === 0,
    },
  };
}

function valueAxis(index: number, name: string, look: Look, splits: number) {
  return {
    type: 'value',
    gridIndex: index,
    name,
    nameTextStyle: { ...axisLabel(look), align: 'left', padding: [0, 0, 0, narrow(look) ? -34 : -42] },
    nameGap: 10,
    min: index === 0 ? (extent: { min: number }) => Math.floor(extent.min / 5) * 5 : 0,
    splitNumber: splits,
    axisLabel: { ...axisLabel(look), margin: 6 },
    splitLine: splitLine(look),
  };
}

function hint(cell: Cell | undefined, currency: string, { palette }: Look) {
  if (!cell) return '';
  const head = `<div style="margin-bottom:4px">${slotRange(cell.slot)}</div>`;
  if (cell.retail === null) return `${head}<span style="color:${palette.muted}">no data</span>`;
  const nano = (cents: number) => Math.round(cents * 10_000);
  const lines = [row(palette.tone.grid, 'grid asks', finePrice(nano(cell.retail), currency))];
  if (cell.known) {
    const local = cell.price === null ? 'no trade' : finePrice(nano(cell.price), currency);
    lines.push(row(palette.tone.near, cell.gets === null ? 'neighbours' : 'members pay', local));
    if (cell.gets !== null) lines.push(row(palette.tone.near, 'members get', finePrice(nano(cell.gets), currency)));
  }
  lines.push(row(palette.tone.grid, 'grid pays', finePrice(nano(cell.feedIn ?? 0), currency)));
  if (cell.volume !== null) lines.push(row(palette.tone.near, cell.settled ? 'went between neighbours' : 'traded, not yet delivered', energy(cell.volume * 1000)));
  return head + lines.join('');
}
