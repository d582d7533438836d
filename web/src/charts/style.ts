// How every chart looks: the page's own colours and type.

import type { Palette } from '../lib/theme.svelte';
import type { Tone } from '../lib/flow';

export interface Look {
  palette: Palette;
  /** Width of the chart in px; below 520 there is room for less. */
  width: number;
  height: number;
}

export const narrow = (look: Look) => look.width < 520;

export function tooltip({ palette }: Look) {
  return {
    confine: true,
    backgroundColor: palette.surface,
    borderColor: palette.line,
    borderWidth: 1,
    padding: [8, 12],
    extraCssText: 'border-radius:10px;box-shadow:0 4px 16px rgb(0 0 0 / 12%);font-variant-numeric:tabular-nums',
    textStyle: { color: palette.ink, fontFamily: palette.font, fontSize: 13 },
  };
}

export const axisLabel = ({ palette }: Look) => ({ color: palette.muted, fontFamily: palette.font, fontSize: 12 });

export const splitLine = ({ palette }: Look) => ({ lineStyle: { color: palette.line, width: 1 } });

/** Stripes that mean: not known. */
export function hatch(color: string, pixel = 6) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = pixel;
  const pen = canvas.getContext('2d');
  if (!pen) return { image: canvas, repeat: 'repeat' as const };
  pen.strokeStyle = color;
  pen.lineWidth = 1;
  pen.globalAlpha = 0.5;
  pen.beginPath();
  for (const shift of [-pixel, 0, pixel]) {
    pen.moveTo(shift, pixel);
    pen.lineTo(shift + pixel, 0);
  }
  pen.stroke();
  return { image: canvas, repeat: 'repeat' as const };
}

/** A line of a tooltip: a mark in the series' colour, words, and the value at the right. */
export const row = (color: string, name: string, value: string) =>
  `<div style="display:flex;gap:16px;justify-content:space-between"><span><span style="color:${color}">■</span> ${name}</span><b style="font-weight:600">${value}</b></div>`;

export const fill = (palette: Palette, tone: Tone) => palette.tone[tone];
