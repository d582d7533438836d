// Bids and asks of one slot as steps over energy, and the point where they cleared.

import type { SlotDetail } from '../lib/api';
import { centsPerKwh, minorUnit, price } from '../lib/format';
import { axisLabel, row, splitLine, tooltip, type Look } from './style';

type Point = [number, number];

/** Corners of a staircase: each level runs flat over its quantity (kWh). */
export function stairs(levels: { price: number; quantity_wh: number }[]): Point[] {
  let at = 0;
  return levels.flatMap((level): Point[] => {
    const from = at;
    at += level.quantity_wh / 1000;
    return [
      [from, centsPerKwh(level.price)],
      [at, centsPerKwh(level.price)],
    ];
  });
}

const closed = (line: Point[], to: number): Point[] => (line.length === 0 ? line : [...line, [line.at(-1)![0], to]]);

export function curves(slot: SlotDetail, currency: string, look: Look) {
  const { palette } = look;
  // Beyond the last order there is no more demand or supply: the curves fall and rise for good.
  const bids = closed(stairs(slot.curves.bids), Math.min(...[slot.feed_in, ...slot.curves.asks.map((ask) => ask.price)].map(centsPerKwh)));
  const asks = closed(stairs(slot.curves.asks), Math.max(...[slot.retail, ...slot.curves.bids.map((bid) => bid.price)].map(centsPerKwh)));
  const far = Math.max(bids.at(-1)?.[0] ?? 0, asks.at(-1)?.[0] ?? 0, 0.1);
  const line = { type: 'line', symbol: 'none', emphasis: { disabled: true } };
  const tariff = (nano: number, text: string, dash: boolean, above: boolean) => ({
    ...line,
    data: [
      [0, centsPerKwh(nano)],
      { value: [far, centsPerKwh(nano)], label: { show: true, formatter: text, position: above ? [0, -16] : [0, 6], align: 'right', color: palette.muted, fontFamily: palette.font, fontSize: 12 }, symbol: 'circle', symbolSize: 0.1 },
    ],
    lineStyle: { color: palette.tone.grid, width: 1.5, type: dash ? 'dashed' : 'solid' },
    showSymbol: true,
    silent: true,
    z: 1,
  });
  return {
    animation: false,
    tooltip: { ...tooltip(look), trigger: 'item' },
    grid: { left: 42, right: 10, top: 30, bottom: 40 },
    xAxis: {
      type: 'value',
      min: 0,
      max: far,
      name: 'kWh',
      nameLocation: 'middle',
      nameGap: 24,
      nameTextStyle: axisLabel(look),
      splitNumber: 4,
      axisLabel: { ...axisLabel(look), showMaxLabel: false },
      splitLine: { show: false },
      axisLine: { lineStyle: { color: palette.line } },
    },
    yAxis: {
      type: 'value',
      scale: true,
      name: `${minorUnit(currency)}/kWh`,
      nameGap: 12,
      nameTextStyle: { ...axisLabel(look), align: 'left', padding: [0, 0, 0, -42] },
      splitNumber: 4,
      axisLabel: { ...axisLabel(look), margin: 6, showMinLabel: false },
      axisLine: { show: false },
      axisTick: { show: false },
      splitLine: splitLine(look),
    },
    series: [
      tariff(slot.retail, 'grid asks', false, true),
      tariff(slot.feed_in, 'grid pays', true, false),
      { ...line, data: bids, lineStyle: { color: palette.tone.home, width: 2.5 } },
      { ...line, data: asks, lineStyle: { color: palette.tone.sun, width: 2.5, type: [7, 3] } },
      ...cleared(slot, currency, far, look),
    ],
  };
}

function cleared(slot: SlotDetail, currency: string, far: number, { palette }: Look) {
  if (slot.price === null) return [];
  const x = slot.cleared_wh / 1000;
  const y = centsPerKwh(slot.price);
  const bar = slot.price_low === null || slot.price_high === null ? [] : [[x, centsPerKwh(slot.price_low)], [x, centsPerKwh(slot.price_high)]];
  const toRight = x < far * 0.6;
  return [
    { type: 'line', data: bar, symbol: 'none', lineStyle: { color: palette.tone.near, width: 5, opacity: 0.45 }, silent: true, z: 3 },
    {
      type: 'line',
      symbol: 'circle',
      symbolSize: 13,
      z: 5,
      data: [[x, y]],
      itemStyle: { color: palette.tone.near, borderColor: palette.surface, borderWidth: 2 },
      label: { show: true, position: toRight ? [14, 15] : [-1, 15], align: toRight ? 'left' : 'right', formatter: price(slot.price, currency), color: palette.ink, fontFamily: palette.font, fontWeight: 650, fontSize: 14, textBorderColor: palette.surface, textBorderWidth: 3 },
      tooltip: { formatter: () => row(palette.tone.near, 'cleared', `${x.toFixed(2)} kWh`) },
    },
  ];
}
