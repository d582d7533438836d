// A street that looks like the controller's: same shapes, plausible numbers, no protocol. For looking
// at the pages without a controller; what the pages do with a real one is tested against a real one.

import { chance, hash, readScenario } from './fixture-data.mjs';

const SLOT_MS = 900_000;
const GATE_LEAD_MS = 120_000;
const EPOCH = 8;
const SHOWN = 96;
const WORDS = ['Elm', 'Oak', 'Birch', 'Maple', 'Ash', 'Linden', 'Hazel', 'Rowan'];

const sum = (list, pick) => list.reduce((total, one) => total + pick(one), 0);

export class FixtureStreet {
  constructor({ dir, start, preload, speed, emit, failing = null }) {
    this.data = readScenario(dir);
    this.first = Math.floor(start / SLOT_MS);
    this.anchorMarket = (this.first + preload) * SLOT_MS + 5 * 60_000;
    this.anchorWall = Date.now();
    this.speed = speed;
    this.emit = emit;
    this.failing = failing;
    this.silent = new Set();
    this.slots = new Map();
    this.statements = new Map(this.data.customers.map((one) => [one.id, []]));
    this.anchors = [];
    this.cleared = this.first - 1;
    this.settled = this.first - 1;
    this.offered = this.first + preload - 1;
    this.jitter = chance(1);
    this.names = new Map(this.data.customers.map((one, i) => [one.id, `${WORDS[i % WORDS.length]} ${1 + 2 * Math.floor(i / WORDS.length) + (i % 2)}`]));
    const quiet = this.emit;
    this.emit = () => {};
    this.step();
    this.emit = quiet;
  }

  now() {
    return this.anchorMarket + (Date.now() - this.anchorWall) * this.speed;
  }

  /** Brings the street up to the present. */
  step() {
    const now = this.now();
    while ((this.offered - 1) * SLOT_MS <= now) {
      this.offered += 1;
      this.emit('offer', this.offer(this.offered));
    }
    for (let slot = this.cleared + 1; slot * SLOT_MS - GATE_LEAD_MS <= now; slot += 1) {
      this.clear(slot);
      for (let old = this.settled + 1; (old + 1) * SLOT_MS <= now && old <= this.cleared; old += 1) this.settle(old);
    }
    for (let old = this.settled + 1; (old + 1) * SLOT_MS + 20_000 <= now && old <= this.cleared; old += 1) this.settle(old);
  }

  tariff(slot) {
    return this.data.tariffs.get(slot) ?? [...this.data.tariffs.values()][0];
  }

  offer(slot) {
    return { slot, start_ms: slot * SLOT_MS, gate_ms: slot * SLOT_MS - GATE_LEAD_MS, ...this.tariff(slot) };
  }

  flows(slot) {
    const load = this.data.load.get(slot) ?? {};
    const gen = this.data.gen.get(slot) ?? {};
    const raw = this.data.raw.get(slot) ?? {};
    return this.data.customers.map(({ id }) => {
      const pv = id in raw ? Math.round(raw[id] * 250) : (gen[id] ?? 0);
      const battery = pv - (gen[id] ?? 0);
      return { id, load: load[id] ?? 0, pv, battery, net: (load[id] ?? 0) - (gen[id] ?? 0) };
    });
  }

  clear(slot) {
    const { retail, feed_in } = this.tariff(slot);
    const span = retail - feed_in;
    const orders = this.flows(slot - 1).filter((one) => one.net !== 0).map((one) => {
      const share = chance(slot * 64 + Number(one.id.slice(1)))() * 0.45;
      return { quantity_wh: Math.abs(one.net), buy: one.net > 0, price: Math.round((one.net > 0 ? retail - span * share : feed_in + span * share) / 10) * 10 };
    });
    const bids = levels(orders.filter((one) => one.buy), -1);
    const asks = levels(orders.filter((one) => !one.buy), 1);
    const { wh, low, high } = cross(bids, asks);
    const price = wh === 0 ? null : Math.round((low + high) / 20) * 10;
    this.slots.set(slot, {
      summary: {
        slot, start_ms: slot * SLOT_MS, state: 'cleared', version: null, retail, feed_in, price, price_low: wh ? low : null, price_high: wh ? high : null, members: null,
        orders: orders.length, cleared_wh: wh, method: 'lp', rung: 'lp', measured: null, missing: null, import_wh: null, export_wh: null,
        grid_import_wh: null, grid_export_wh: null, local_wh: null, pv_wh: null, anchored_seq: null,
      },
      curves: { bids, asks },
    });
    this.cleared = slot;
    this.emit('cleared', this.slots.get(slot).summary);
  }

  settle(slot) {
    const { summary } = this.slots.get(slot);
    const flows = this.flows(slot);
    const imported = sum(flows, (one) => Math.max(0, one.net));
    const exported = sum(flows, (one) => Math.max(0, -one.net));
    const local = Math.min(imported, exported);
    const price = summary.price ?? Math.round((summary.retail + summary.feed_in) / 2);
    Object.assign(summary, {
      state: 'settled', version: this.late(slot) ? 2 : 1, measured: flows.length - this.silent.size, missing: this.silent.size, import_wh: imported, export_wh: exported,
      grid_import_wh: imported - local, grid_export_wh: exported - local, local_wh: local, pv_wh: sum(flows, (one) => one.pv),
    });
    for (const one of flows) this.statements.get(one.id).unshift(this.bill(one, summary, price, imported ? local / imported : 0, exported ? local / exported : 0));
    this.settled = slot;
    this.emit('settled', summary);
    for (const one of flows) this.emit('audit', { point: one.id, slot, version: 1, verified: one.id !== this.failing });
    if ((slot - this.first + 1) % EPOCH === 0) this.anchor(slot);
  }

  bill(one, { slot, retail, feed_in, price: traded }, price, localIn, localOut) {
    const bought = Math.max(0, one.net);
    const sold = Math.max(0, -one.net);
    const inLocal = Math.floor(bought * localIn);
    const outLocal = Math.floor(sold * localOut);
    const verified = one.id !== this.failing;
    const amount = inLocal * price + (bought - inLocal) * retail - outLocal * price - (sold - outLocal) * feed_in;
    return {
      slot, start_ms: slot * SLOT_MS, version: this.late(slot) ? 2 : 1, versions: this.versions(slot, amount), measured: !this.silent.has(one.id), quality: this.silent.has(one.id) ? 'missing' : 'measured', import_wh: bought, export_wh: sold, bought_wh: inLocal, sold_wh: outLocal,
      price: traded, retail, feed_in, local_import_wh: inLocal, local_export_wh: outLocal, grid_import_wh: bought - inLocal, grid_export_wh: sold - outLocal, late_import_wh: 0, late_export_wh: 0,
      amount_nano: amount,
      alone_nano: bought * retail - sold * feed_in, sharing: null, reward_wh: outLocal,
      audit: { verified, reason: verified ? '' : 'amount is 812000 nano more than recomputed', time_ms: (slot + 1) * SLOT_MS + 40_000 },
      log_index: slot - this.first, anchored_seq: null,
    };
  }

  /** Slots in which a neighbour's meter came late. */
  late(slot) {
    return slot % 24 === 7;
  }

  versions(slot, amount) {
    if (!this.late(slot)) return [];
    const version = (number, missing, moved) => ({
      version: number, time_ms: (slot + number + 1) * SLOT_MS, measured: true, missing, amount_nano: amount - moved, log_index: slot - this.first + number - 1, found_in: slot + number - 1,
    });
    return [version(1, this.silent.size + 1, 3_140_000), version(2, this.silent.size, 0)];
  }

  anchor(to) {
    const from = to - EPOCH + 1;
    const seq = this.anchors.length + 1;
    const list = Array.from({ length: EPOCH }, (_, i) => this.slots.get(from + i).summary);
    const rewards = sum([...this.statements.values()].flat(), (row) => row.reward_wh);
    const anchor = {
      seq, from_slot: from, to_slot: to, log_size: to - this.first + 1, log_root: hash(`log${to}`), rewards_root: hash(`rewards${to}`), state: 'final',
      tx_hash: hash(`tx${to}`), block: seq + 5, queued_ms: (to + 1) * SLOT_MS + 30_000, final_ms: (to + 1) * SLOT_MS + 60_000,
      totals: {
        import_wh: sum(list, (s) => s.import_wh), export_wh: sum(list, (s) => s.export_wh), grid_import_wh: sum(list, (s) => s.grid_import_wh),
        grid_export_wh: sum(list, (s) => s.grid_export_wh), local_wh: sum(list, (s) => s.local_wh), debit_nano: sum(list, (s) => s.import_wh * s.retail),
        credit_nano: sum(list, (s) => s.import_wh * s.retail), supplier_nano: sum(list, (s) => s.grid_import_wh * s.retail - s.grid_export_wh * s.feed_in), reward_wh: rewards, reward_total: `${BigInt(rewards) * 10n ** 15n}`,
      },
    };
    for (const slot of list) slot.anchored_seq = seq;
    for (const rows of this.statements.values()) for (const row of rows) if (row.slot >= from && row.slot <= to) row.anchored_seq = seq;
    this.anchors.unshift(anchor);
    this.emit('anchored', anchor);
  }

  /** The flow of the running slot with a little noise, W. */
  moment() {
    const slot = Math.floor(this.now() / SLOT_MS);
    const part = this.now() / SLOT_MS - slot;
    const after = this.flows(slot + 1);
    return this.flows(slot).map((one, i) => {
      const mix = (name) => Math.round(4 * (one[name] * (1 - part) + after[i][name] * part) * (0.98 + 0.04 * this.jitter()));
      const [load, pv, battery] = [mix('load'), mix('pv'), mix('battery')];
      return { id: one.id, load, pv, battery, net: load - pv + battery };
    });
  }

  live() {
    const all = this.moment().filter((one) => !this.silent.has(one.id));
    const imported = sum(all, (one) => Math.max(0, one.net));
    const exported = sum(all, (one) => Math.max(0, -one.net));
    const shared = Math.min(imported, exported);
    const counts = { reporting: all.length, households: this.data.customers.length };
    const unknown = { pv_w: null, home_w: null, battery_charge_w: null, battery_discharge_w: null, grid_import_w: null, grid_export_w: null, shared_w: null };
    if (all.length === 0) return { age_ms: 20_000 * this.speed, ...counts, ...unknown };
    return {
      age_ms: 300 * this.speed, ...counts, pv_w: sum(all, (one) => one.pv), home_w: sum(all, (one) => one.load),
      battery_charge_w: sum(all, (one) => Math.max(0, one.battery)), battery_discharge_w: sum(all, (one) => Math.max(0, -one.battery)),
      grid_import_w: imported - shared, grid_export_w: exported - shared, shared_w: shared,
    };
  }

  street() {
    const now = this.now();
    const slot = Math.floor(now / SLOT_MS);
    const day = [...this.slots.values()].map((one) => one.summary).filter((one) => one.state === 'settled' && one.start_ms >= Math.floor(now / 86_400_000) * 86_400_000);
    return {
      community: 'semiurb4', currency: 'EUR', now_ms: Math.round(now), speed: this.speed, slot, slot_start_ms: slot * SLOT_MS, slot_end_ms: (slot + 1) * SLOT_MS, live: this.live(),
      offers: [this.offer(slot + 1)].filter((one) => one.gate_ms > now), last_cleared: this.slots.get(this.cleared)?.summary ?? null, last: this.slots.get(this.settled)?.summary ?? null,
      today: {
        slots: day.length, import_wh: sum(day, (s) => s.import_wh), export_wh: sum(day, (s) => s.export_wh), local_wh: sum(day, (s) => s.local_wh),
        paid_to_supplier_nano: sum(day, (s) => s.grid_import_wh * s.retail - s.grid_export_wh * s.feed_in), reward_wh: sum(day, (s) => s.local_wh),
        ladder: this.ladder(day.length),
      },
      ladder: this.ladder(this.slots.size),
      sharing: { rule: 'auction', key: 'none', takes_orders: true, form: { rule: 'auction', key: 'none' } },
      anchor: this.anchors[0] ?? null,
      chain: { kind: 'embedded', chain_id: 31337, registry: hash('registry', 20), anchor: hash('anchor', 20), token: hash('token', 20), rewards: hash('rewards', 20) },
      refusals: { total: 3 },
    };
  }

  ladder(lp) {
    return { lp, exact: 0, envelopes: 0, shared: 0, degraded_ppm: lp ? 0 : null };
  }

  /** One plausible answer to why a price was what it was. */
  why(point, slot) {
    const home = this.data.customers.find((one) => one.id === point);
    const found = this.slots.get(slot);
    if (!home || !found) return null;
    const { retail, feed_in, price } = found.summary;
    const row = this.statements.get(point).find((one) => one.slot === slot);
    const own = row?.bought_wh ? 'buy' : 'sell';
    const limit = own === 'buy' ? retail - 9_000 : feed_in + 9_000;
    const filled = row ? Math.max(row.bought_wh, row.sold_wh) : 0;
    const by = (side, at, done) => ({ price: at, side, limit: at, filled: done, own: false });
    return {
      slot, start_ms: slot * SLOT_MS, point, bus: home.bus, retail, feed_in, rule: 'auction', rung: 'lp', no_market: null, price,
      parts: price === null ? null : { reference: this.data.buses[0].id, energy: price - 12_000, grid_fee: 12_000, congestion: 0 },
      low: price === null ? null : by('sell', found.summary.price_low, true), high: price === null ? null : by('buy', found.summary.price_high, true), full: [],
      orders: [{ side: own, steps: [{ quantity_wh: filled + 40, limit, filled_wh: filled, rest: 'limit', would_trade_at: own === 'buy' ? retail - 4_000 : feed_in + 4_000 }] }],
      missed: [],
    };
  }

  households() {
    const now = new Map(this.moment().map((one) => [one.id, one]));
    return this.data.customers.map((one) => {
      const flow = now.get(one.id);
      const rows = this.statements.get(one.id).slice(0, SHOWN);
      return {
        point: one.id, name: this.names.get(one.id), kind: one.kind, devices: one.devices, bus: one.bus,
        live: {
          age_ms: (this.silent.has(one.id) ? 60_000 : 400) * this.speed, power_w: flow.net, pv_w: one.devices.includes('pv') ? flow.pv : null, battery_w: one.devices.includes('battery') ? flow.battery : null,
          soc_permille: one.devices.includes('battery') ? 640 : null, voltage_mv: 231_400 - flow.net / 10,
        },
        today: totals(rows), reward_wh: sum(rows, (row) => row.reward_wh), audit: one.id === this.failing ? 'failed' : rows.length === 0 ? 'waiting' : 'verified',
      };
    });
  }

  household(point) {
    const one = this.households().find((other) => other.point === point);
    if (!one) return null;
    const statements = this.statements.get(point).slice(0, SHOWN);
    const reward = BigInt(one.reward_wh) * 10n ** 15n;
    return {
      ...one, statements, totals: { ...one.today, slots: statements.length, reward_wh: one.reward_wh }, payout: hash(`payout${point}`, 20), reward_total: `${reward}`, claimable: `${(reward * 3n) / 4n}`, claimed: '0',
      meter: { reading_seq: this.settled - this.first + 2, last_reading_ms: (this.settled + 1) * SLOT_MS, quality: 'measured', resolution_mwh: 1_000, events: [{ slot: this.settled, register: 'import', kind: 'rollover', before: 4_294_967_295_000, after: 200_000, times: 1, time_ms: this.settled * SLOT_MS }] },
    };
  }

  /** The network in a slot: the live picture's power flow, with limits that one cable meets. */
  feederSlot(slot) {
    const found = this.slots.get(slot);
    if (!found) return null;
    const now = this.feeder();
    const voltages = now.buses.map((one) => ({ bus: one.id, vm_pu: one.vm_pu })).sort((a, b) => a.vm_pu - b.vm_pu);
    const branches = now.branches.map((one, i) => {
      const cap = i === 5 ? Math.max(1, Math.abs(Math.round(one.p_w / 4))) : 40_000;
      const flow = Math.round(one.p_w / 4);
      return { id: one.id, from: one.from, to: one.to, flow_wh: flow, import_cap_wh: cap, export_cap_wh: cap, fee: i === 1 ? 1_500 : 0, full: Math.abs(flow) >= cap, congestion: i === 5 ? 22_400 : 0 };
    });
    return {
      slot, start_ms: slot * SLOT_MS,
      traded: { cleared_wh: found.summary.cleared_wh, fees_nano: found.summary.cleared_wh * 1_500, congestion_nano: 900_000, branches, buses: now.buses.map((one) => ({ id: one.id, price: found.summary.price })) },
      delivered: found.summary.state === 'settled' ? { ...now, age_ms: null, losses_wh: 62.4, assumed_losses_wh: 48, lowest: voltages[0], highest: voltages.at(-1) } : null,
    };
  }

  header(slot) {
    return {
      slot, version: this.late(slot) ? 2 : 1, time_ms: (slot + 1) * SLOT_MS, index: slot - this.first, previous_root: hash(`log${slot - 1}`), orders_root: hash(`orders${slot}`), readings_root: hash(`readings${slot}`),
      statements_root: hash(`bills${slot}`), statements: this.data.customers.length, missing: this.silent.size,
    };
  }

  checkpoint(slot) {
    return { body: { size: slot - this.first + 1, root: hash(`log${slot}`), slot, time_ms: (slot + 1) * SLOT_MS }, sig: hash(`sig${slot}`, 65) };
  }

  detail(slot) {
    const found = this.slots.get(slot);
    if (!found) return null;
    const settled = found.summary.state === 'settled';
    return { ...found.summary, curves: found.curves, versions: settled ? (this.late(slot) ? [1, 2] : [1]).map((version) => ({ ...this.header(slot), version, missing: found.summary.missing + (this.late(slot) ? 2 - version : 0) })) : [], header: settled ? this.header(slot) : null, checkpoint: settled ? this.checkpoint(slot) : null };
  }

  proof(point, slot) {
    const row = this.statements.get(point)?.find((one) => one.slot === slot);
    if (!row) return null;
    const path = (n, name) => Array.from({ length: n }, (_, i) => hash(`${name}${slot}${i}`));
    return {
      statement: { import_wh: row.import_wh, export_wh: row.export_wh, measured: row.measured, amount: row.amount_nano }, position: 4, path: path(6, point), header: this.header(slot),
      log_path: path(5, 'log'), checkpoint: this.checkpoint(slot), anchor: this.anchors.find((one) => one.seq === row.anchored_seq) ?? null,
    };
  }

  feeder() {
    const net = new Map();
    for (const one of this.moment()) {
      const { bus } = this.data.customers.find((other) => other.id === one.id);
      net.set(bus, (net.get(bus) ?? 0) + one.net);
    }
    const power = new Map();
    const deepFirst = [...this.data.buses].sort((a, b) => b.depth - a.depth);
    const up = new Map(this.data.branches.map((branch) => [branch.to, branch]));
    for (const bus of deepFirst) {
      const branch = up.get(bus.id);
      const here = (net.get(bus.id) ?? 0) + sum(this.data.branches.filter((other) => other.from === bus.id), (other) => power.get(other.id) ?? 0);
      if (branch) power.set(branch.id, here);
    }
    const volts = new Map();
    for (const bus of deepFirst.reverse()) {
      const branch = up.get(bus.id);
      volts.set(bus.id, branch ? volts.get(branch.from) - (branch.r * power.get(branch.id)) / 160_000 : this.data.slack);
    }
    return {
      source: 'calculated from 41 of 41 meters, without reactive power', age_ms: 500 * this.speed, reporting: 41, households: 41, limits: { low_pu: 0.9, high_pu: 1.1 },
      buses: this.data.buses.map((bus) => ({
        id: bus.id, parent: up.get(bus.id)?.from ?? null, depth: bus.depth, vm_pu: volts.get(bus.id), band: volts.get(bus.id) < 0.9 ? 'low' : volts.get(bus.id) > 1.1 ? 'high' : 'ok',
        points: this.data.customers.filter((one) => one.bus === bus.id).map((one) => one.id),
      })),
      branches: this.data.branches.map(({ r: _, ...branch }) => ({ ...branch, p_w: Math.round(power.get(branch.id)), loading_percent: (Math.abs(power.get(branch.id)) / (Math.sqrt(3) * 400) / branch.max_a) * 100 })),
    };
  }
}

function totals(rows) {
  return {
    bought_wh: sum(rows, (row) => row.bought_wh), sold_wh: sum(rows, (row) => row.sold_wh), grid_import_wh: sum(rows, (row) => row.grid_import_wh), grid_export_wh: sum(rows, (row) => row.grid_export_wh),
    amount_nano: sum(rows, (row) => row.amount_nano), saved_nano: sum(rows, (row) => row.alone_nano - row.amount_nano),
  };
}

function levels(orders, direction) {
  const found = new Map();
  for (const one of orders) found.set(one.price, (found.get(one.price) ?? 0) + one.quantity_wh);
  return [...found].map(([price, quantity_wh]) => ({ price, quantity_wh })).sort((a, b) => direction * (a.price - b.price));
}

/** Merit order: energy traded and the interval of prices that clear it. */
function cross(bids, asks) {
  let [i, j, wh] = [0, 0, 0];
  let [b, a] = [bids[0]?.quantity_wh ?? 0, asks[0]?.quantity_wh ?? 0];
  let [lastBid, lastAsk] = [null, null];
  while (bids[i] && asks[j] && bids[i].price >= asks[j].price) {
    const part = Math.min(b, a);
    [wh, b, a, lastBid, lastAsk] = [wh + part, b - part, a - part, bids[i].price, asks[j].price];
    if (b === 0) b = bids[++i]?.quantity_wh ?? 0;
    if (a === 0) a = asks[++j]?.quantity_wh ?? 0;
  }
  if (wh === 0) return { wh, low: 0, high: 0 };
  const low = Math.max(lastAsk, bids[i] && bids[i].price < lastBid ? bids[i].price : lastAsk);
  const high = Math.min(lastBid, asks[j] && asks[j].price > lastAsk ? asks[j].price : lastBid);
  return { wh, low: Math.min(low, high), high: Math.max(low, high) };
}
