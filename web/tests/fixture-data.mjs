// Reads a street's scenario folder (grid and time series as CSV) for the fixture server.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Slot of `t = 0` in the scenario's count: 2016-01-01T00:00Z. */
export const FIRST_SLOT = 1_612_896;

function rows(file) {
  const [head, ...lines] = readFileSync(file, 'utf8').trim().split('\n');
  const names = head.split(',');
  return lines.map((line) => Object.fromEntries(line.split(',').map((value, i) => [names[i], value])));
}

/** Series by slot: slot → { customer: number }. */
function series(file) {
  const found = new Map();
  for (const { t, timestamp_utc: _, ...values } of rows(file)) {
    found.set(FIRST_SLOT + Number(t), Object.fromEntries(Object.entries(values).map(([id, value]) => [id, Number(value)])));
  }
  return found;
}

export function readScenario(dir, tariff = 'flat') {
  const file = (...parts) => join(dir, ...parts);
  const devices = new Map();
  for (const { customer_id: id, kind } of rows(file('devices.csv'))) {
    const words = { pv: ['pv'], pv_battery: ['pv', 'battery'], heat_pump: ['heat_pump'], ev_home: ['ev'], ev_work: ['ev'] }[kind] ?? [];
    devices.set(id, [...new Set([...(devices.get(id) ?? []), ...words])]);
  }
  const tariffs = new Map(
    rows(file('tariffs.csv')).map((row) => [FIRST_SLOT + Number(row.t), { retail: Number(row[`${tariff}_retail_e5`]) * 10, feed_in: Number(row[`${tariff}_feedin_e5`]) * 10 }]),
  );
  const [trafo] = rows(file('grid', 'transformers.csv'));
  const buses = rows(file('grid', 'buses.csv')).map((row) => ({ id: row.bus_id, depth: Number(row.depth) }));
  const branches = [
    { id: trafo.trafo_id, from: trafo.hv_bus, to: trafo.lv_bus, kind: 'transformer', length_m: null, r: Number(trafo.r_lv_ohm), max_a: (Number(trafo.sn_kva) * 1000) / (Math.sqrt(3) * 400) },
    ...rows(file('grid', 'lines.csv')).map((row) => ({ id: row.line_id, from: row.from_bus, to: row.to_bus, kind: 'line', length_m: Number(row.length_m), r: Number(row.r_ohm), max_a: Number(row.max_i_ka) * 1000 })),
  ];
  const slack = Number(rows(file('grid', 'slack.csv'))[0].vm_pu);
  return {
    customers: rows(file('customers.csv')).map((row) => ({ id: row.customer_id, bus: row.bus_id, kind: row.type, devices: devices.get(row.customer_id) ?? [] })),
    tariffs,
    buses,
    branches,
    slack,
    load: series(file('ts', 'load_wh.csv')),
    gen: series(file('ts', 'gen_wh.csv')),
    raw: series(file('ts', 'pvbat_raw_pv_p_kw.csv')),
  };
}

/** A small reproducible source of chance. */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

export function hash(seed, bytes = 32) {
  const next = chance([...String(seed)].reduce((sum, letter) => Math.imul(sum, 31) + letter.charCodeAt(0), 7));
  return `0x${Array.from({ length: bytes }, () => Math.floor(next() * 256).toString(16).padStart(2, '0')).join('')}`;
}
