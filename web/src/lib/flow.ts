// Where power comes from and where it goes, as links that add up.

import type { HouseholdLive, SlotSummary, StreetLive } from './api';

/** One meaning of a colour. */
export type Tone = 'sun' | 'battery' | 'home' | 'near' | 'grid' | 'car' | 'bad';

export interface FlowNode {
  id: string;
  name: string;
  tone: Tone;
  column: 0 | 1 | 2;
}

export interface FlowLink {
  from: string;
  to: string;
  value: number;
}

export interface Flow {
  nodes: FlowNode[];
  links: FlowLink[];
  /** What the meters disagree by: sources minus sinks that no link could carry. */
  residual: number;
}

/** Sums of a street at one moment (W) or over one slot (Wh). */
export interface StreetBalance {
  sun: number;
  home: number;
  charge: number;
  discharge: number;
  gridIn: number;
  gridOut: number;
  shared: number;
}

const SUN: FlowNode = { id: 'sun', name: 'Sun', tone: 'sun', column: 0 };
const BATTERY_OUT: FlowNode = { id: 'battery-out', name: 'Batteries', tone: 'battery', column: 0 };
const GRID_IN: FlowNode = { id: 'grid-in', name: 'Grid', tone: 'grid', column: 0 };
const NEAR: FlowNode = { id: 'near', name: 'Neighbours', tone: 'near', column: 1 };
const HOMES: FlowNode = { id: 'homes', name: 'Homes', tone: 'home', column: 2 };
const BATTERY_IN: FlowNode = { id: 'battery-in', name: 'Batteries', tone: 'battery', column: 2 };
const GRID_OUT: FlowNode = { id: 'grid-out', name: 'Grid', tone: 'grid', column: 2 };

/**
 * Splits a street's sums into links. The meters give the sums, not who fed whom, so one rule fills
 * the gap: batteries charge from the sun first, what leaves a house is sun first and battery second,
 * and neighbours and grid share both in proportion.
 */
export function streetFlow(b: StreetBalance): Flow {
  const out = b.shared + b.gridOut;
  const chargeSun = Math.min(b.charge, b.sun);
  const sunLeft = b.sun - chargeSun;
  const outSun = Math.min(out, sunLeft);
  const outBattery = Math.min(out - outSun, b.discharge);
  const sharedPart = out > 0 ? b.shared / out : 0;
  const chargeGrid = Math.min(b.charge - chargeSun, b.gridIn);
  const chargeNear = Math.min(b.charge - chargeSun - chargeGrid, b.shared);
  const links: FlowLink[] = [
    { from: 'sun', to: 'homes', value: sunLeft - outSun },
    { from: 'sun', to: 'near', value: outSun * sharedPart },
    { from: 'sun', to: 'battery-in', value: chargeSun },
    { from: 'sun', to: 'grid-out', value: outSun * (1 - sharedPart) },
    { from: 'battery-out', to: 'homes', value: b.discharge - outBattery },
    { from: 'battery-out', to: 'near', value: outBattery * sharedPart },
    { from: 'battery-out', to: 'grid-out', value: outBattery * (1 - sharedPart) },
    { from: 'near', to: 'homes', value: b.shared - chargeNear },
    { from: 'near', to: 'battery-in', value: chargeNear },
    { from: 'grid-in', to: 'homes', value: b.gridIn - chargeGrid },
    { from: 'grid-in', to: 'battery-in', value: chargeGrid },
  ];
  const nodes = [SUN, BATTERY_OUT, GRID_IN, NEAR, HOMES, BATTERY_IN, GRID_OUT];
  return assemble(nodes, links, b.sun + b.discharge + b.gridIn - b.home - b.charge - b.gridOut);
}

/** The same for one household; the street is one side, since a meter cannot tell neighbours from grid. */
export function homeFlow(b: { sun: number; home: number; charge: number; discharge: number; bought: number; sold: number }): Flow {
  const street = streetFlow({ ...b, gridIn: b.bought, gridOut: b.sold, shared: 0 });
  const names: Record<string, string> = {
    'grid-in': 'Street',
    'grid-out': 'Street',
    'battery-in': 'Battery',
    'battery-out': 'Battery',
    homes: 'Home',
  };
  return { ...street, nodes: street.nodes.map((node) => ({ ...node, name: names[node.id] ?? node.name })) };
}

function assemble(nodes: FlowNode[], links: FlowLink[], residual: number): Flow {
  const real = links.filter((link) => link.value >= 0.5);
  const used = new Set(real.flatMap((link) => [link.from, link.to]));
  return { nodes: nodes.filter((node) => used.has(node.id)), links: real, residual };
}

/** What passes through a node. */
export function through(flow: Flow, id: string): number {
  const sum = (end: 'from' | 'to') => flow.links.reduce((total, link) => (link[end] === id ? total + link.value : total), 0);
  return Math.max(sum('from'), sum('to'));
}

/** The street's sums of the moment, or nothing while no meter reports. */
export function liveBalance(live: StreetLive): StreetBalance | null {
  const { pv_w: sun, home_w: home, battery_charge_w: charge, battery_discharge_w: discharge, grid_import_w: gridIn, grid_export_w: gridOut, shared_w: shared } = live;
  if (sun === null || home === null || charge === null || discharge === null || gridIn === null || gridOut === null || shared === null) return null;
  return { sun, home, charge, discharge, gridIn, gridOut, shared };
}

/** The sums of a settled slot; batteries are inside the homes because bills do not see them. */
export function slotBalance(slot: SlotSummary): StreetBalance | null {
  const { import_wh, export_wh, grid_import_wh, grid_export_wh, local_wh } = slot;
  if (import_wh === null || export_wh === null || grid_import_wh === null || grid_export_wh === null || local_wh === null) return null;
  const sun = Math.max(slot.pv_wh ?? 0, export_wh);
  return { sun, home: sun + import_wh - export_wh, charge: 0, discharge: 0, gridIn: grid_import_wh, gridOut: grid_export_wh, shared: local_wh };
}

/** Silence after which a household no longer counts, in real time; the controller's sums use the same. */
const SILENT_AFTER_MS = 15_000;

/** A household's newest message, unless it is too old to speak of the present. */
export const fresh = (live: HouseholdLive | null, speed: number) => (live !== null && live.age_ms / speed <= SILENT_AFTER_MS ? live : null);

/** A household's sums of the moment, or nothing when its meter is silent. */
export function householdBalance(live: HouseholdLive | null) {
  if (!live || live.power_w === null) return null;
  const sun = Math.max(0, live.pv_w ?? 0);
  const battery = live.battery_w ?? 0;
  return {
    sun,
    home: live.power_w + sun - battery,
    charge: Math.max(0, battery),
    discharge: Math.max(0, -battery),
    bought: Math.max(0, live.power_w),
    sold: Math.max(0, -live.power_w),
  };
}
