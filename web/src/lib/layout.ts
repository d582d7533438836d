// Places the buses of a feeder: the source at the left, depth to the right, no two branches on top
// of each other.

import type { Branch, Bus } from './api';

export interface PlacedBus {
  bus: Bus;
  /** Column (depth) and row, from 0. */
  x: number;
  y: number;
}

export interface Plan {
  buses: PlacedBus[];
  branches: { branch: Branch; from: PlacedBus; to: PlacedBus }[];
  columns: number;
  rows: number;
}

/**
 * The longest way onwards keeps the row of its bus; every other branch gets a row of its own below.
 * Buses whose parent is unknown start a row each, so nothing is ever left out.
 */
export function plan(buses: Bus[], branches: Branch[]): Plan {
  const ids = new Set(buses.map((bus) => bus.id));
  const children = new Map<string, Bus[]>();
  for (const bus of buses) {
    if (bus.parent === null || !ids.has(bus.parent)) continue;
    children.set(bus.parent, [...(children.get(bus.parent) ?? []), bus]);
  }
  const reach = new Map<string, number>();
  for (const bus of [...buses].sort((a, b) => b.depth - a.depth)) {
    reach.set(bus.id, 1 + Math.max(0, ...(children.get(bus.id) ?? []).map((child) => reach.get(child.id) ?? 0)));
  }
  const placed = new Map<string, PlacedBus>();
  const ends: number[] = [];
  const starts = buses.filter((bus) => bus.parent === null || !ids.has(bus.parent));
  const waiting = starts.reverse().map((bus) => ({ bus, row: 0 }));
  while (waiting.length > 0) {
    const next = waiting.pop()!;
    if (placed.has(next.bus.id)) continue;
    placeRun(next.bus, next.row);
  }

  function placeRun(start: Bus, above: number) {
    const length = reach.get(start.id) ?? 1;
    const y = freeRow(start.depth, above);
    let bus: Bus | undefined = start;
    ends[y] = Math.max(ends[y] ?? -1, start.depth + length);
    while (bus && !placed.has(bus.id)) {
      placed.set(bus.id, { bus, x: bus.depth, y });
      const onward: Bus[] = [...(children.get(bus.id) ?? [])].sort((a, b) => (reach.get(b.id) ?? 0) - (reach.get(a.id) ?? 0));
      // Side branches near the source are placed last, so that they come to lie outside.
      for (const side of onward.slice(1)) waiting.push({ bus: side, row: y });
      bus = onward[0];
    }
  }

  /** The first row below `above` that is free from the column on. */
  function freeRow(column: number, above: number): number {
    let y = placed.size === 0 ? 0 : above + 1;
    while ((ends[y] ?? -1) >= column) y += 1;
    return y;
  }

  const all = [...placed.values()];
  return {
    buses: all,
    branches: branches.flatMap((branch) => {
      const from = placed.get(branch.from);
      const to = placed.get(branch.to);
      return from && to ? [{ branch, from, to }] : [];
    }),
    columns: 1 + Math.max(0, ...all.map((one) => one.x)),
    rows: 1 + Math.max(0, ...all.map((one) => one.y)),
  };
}
