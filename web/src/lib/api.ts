// The controller's HTTP API as this app knows it: every shape and every request in one place.
//
// Energy is in Wh, power in W, prices in nano-currency per Wh, money in nano-currency, times in
// Unix milliseconds of market time, slots in quarter-hours since the Unix epoch. `null` is unknown.

export const BASE = '/api/v1';

export interface StreetLive {
  age_ms: number | null;
  reporting: number;
  households: number;
  /** The sums are null while nobody reports. */
  pv_w: number | null;
  home_w: number | null;
  battery_charge_w: number | null;
  battery_discharge_w: number | null;
  /** What the street as a whole draws from and feeds into the grid, after sharing. */
  grid_import_w: number | null;
  grid_export_w: number | null;
  /** Fed in by one household and used by another at this moment. */
  shared_w: number | null;
}

export interface Offer {
  slot: number;
  start_ms: number;
  gate_ms: number;
  retail: number;
  feed_in: number;
}

export interface SlotSummary {
  slot: number;
  start_ms: number;
  state: 'cleared' | 'settled';
  /** Which settlement these figures are of: 2 and more when a meter had come late. */
  version: number | null;
  retail: number;
  feed_in: number;
  price: number | null;
  price_low: number | null;
  price_high: number | null;
  /** What members pay and get by a rule without an auction. */
  members: { buy: number; sell: number } | null;
  orders: number;
  cleared_wh: number;
  method: string;
  rung: Rung;
  measured: number | null;
  missing: number | null;
  import_wh: number | null;
  export_wh: number | null;
  grid_import_wh: number | null;
  grid_export_wh: number | null;
  local_wh: number | null;
  pv_wh: number | null;
  anchored_seq: number | null;
}

export interface CurveLevel {
  price: number;
  quantity_wh: number;
}

export interface LogHeader {
  slot: number;
  version: number;
  index: number;
  previous_root: string;
  orders_root: string;
  readings_root: string;
  statements_root: string;
  statements: number;
  missing: number;
  time_ms: number;
}

export interface Signed<T> {
  body: T;
  sig: string;
}

export interface Checkpoint {
  size: number;
  root: string;
  slot: number;
  time_ms: number;
}

export interface SlotDetail extends SlotSummary {
  curves: { bids: CurveLevel[]; asks: CurveLevel[] };
  /** The log entries of all settlements, the first one first. */
  versions: LogHeader[];
  header: LogHeader | null;
  checkpoint: Signed<Checkpoint> | null;
}

export interface Totals {
  import_wh: number;
  export_wh: number;
  grid_import_wh: number;
  grid_export_wh: number;
  local_wh: number;
  debit_nano: number;
  credit_nano: number;
  supplier_nano: number;
  reward_wh: number;
  /** All rewards since the beginning, a decimal number of 10^-18 tokens; text because it outgrows a number. */
  reward_total: string;
}

export interface AnchorSummary {
  seq: number;
  from_slot: number;
  to_slot: number;
  log_size: number;
  log_root: string;
  rewards_root: string;
  state: 'queued' | 'prepared' | 'sent' | 'final';
  tx_hash: string | null;
  block: number | null;
  queued_ms: number;
  final_ms: number | null;
  totals: Totals;
}

export interface ChainInfo {
  kind: 'embedded' | 'rpc';
  chain_id: number;
  registry: string;
  anchor: string;
  token: string;
  rewards: string;
}

/** Rule and key as they are configured. */
export interface SharingForm {
  rule: unknown;
  key: string | { static?: { keys: Record<string, number>; rounds: number } };
}

/** What members pay each other, and how the grid operator allocates. */
export interface StreetSharing {
  /** `auction`, `mid-market`, `allocated at 180000` (nano-currency per Wh), … */
  rule: string;
  /** `none`, `pro-rata`, `static`, `cascade`, `hierarchical` or `pairs`. */
  key: string;
  takes_orders: boolean;
  form: SharingForm;
}

/** How a home's energy of a slot was shared; amounts are positive when they are paid. */
export interface SharedBill {
  rule: string;
  key: string;
  pays_nano: number;
  gets_nano: number;
  legal: { taken_wh: number; given_wh: number; residual_nano: number; shortfall_nano: number; difference_nano: number } | null;
}

export interface Street {
  community: string;
  currency: string;
  now_ms: number;
  speed: number;
  slot: number;
  slot_start_ms: number;
  slot_end_ms: number;
  live: StreetLive;
  offers: Offer[];
  /** The newest settled slot; before the first one, the newest cleared slot. */
  last: SlotSummary | null;
  last_cleared: SlotSummary | null;
  /** Since midnight UTC. */
  today: {
    slots: number;
    import_wh: number;
    export_wh: number;
    local_wh: number;
    paid_to_supplier_nano: number;
    reward_wh: number;
    ladder: Ladder;
  };
  ladder: Ladder;
  sharing: StreetSharing;
  anchor: AnchorSummary | null;
  chain: ChainInfo | null;
  refusals: { total: number };
}

export interface Bus {
  id: string;
  parent: string | null;
  depth: number;
  vm_pu: number | null;
  band: 'ok' | 'low' | 'high' | 'unknown';
  points: string[];
}

export interface Branch {
  id: string;
  from: string;
  to: string;
  kind: 'line' | 'transformer';
  length_m: number | null;
  p_w: number | null;
  loading_percent: number | null;
  max_a: number | null;
}

export interface Feeder {
  source: string;
  age_ms: number | null;
  reporting: number;
  households: number;
  buses: Bus[];
  branches: Branch[];
  limits: { low_pu: number; high_pu: number };
}

/** A branch as the market sees it in a slot. */
export interface TradedBranch {
  id: string;
  from: string;
  to: string;
  /** Towards `to`; negative away from it. */
  flow_wh: number;
  /** Null without a limit. */
  import_cap_wh: number | null;
  export_cap_wh: number | null;
  fee: number;
  full: boolean;
  /** What a Wh more through it would have been worth; null where nothing was traded at an end. */
  congestion: number | null;
}

/** The network in one slot: the trade on it, and the power flow of what was metered. */
export interface FeederSlot {
  slot: number;
  start_ms: number;
  /** Null when all trade as if at one bus. */
  traded: { cleared_wh: number; fees_nano: number; congestion_nano: number; branches: TradedBranch[]; buses: { id: string; price: number | null }[] } | null;
  /** Null until the slot is settled. */
  delivered: (Feeder & { losses_wh: number | null; assumed_losses_wh: number | null; lowest: { bus: string; vm_pu: number } | null; highest: { bus: string; vm_pu: number } | null }) | null;
}

export type Device = 'pv' | 'battery' | 'heat_pump' | 'ev';
export type AuditState = 'verified' | 'failed' | 'waiting';

export interface HouseholdLive {
  age_ms: number;
  power_w: number | null;
  pv_w: number | null;
  battery_w: number | null;
  soc_permille: number | null;
  voltage_mv: number | null;
}

export interface HouseholdDay {
  bought_wh: number;
  sold_wh: number;
  grid_import_wh: number;
  grid_export_wh: number;
  amount_nano: number;
  saved_nano: number;
}

export interface Household {
  point: string;
  name: string;
  kind: string;
  devices: string[];
  bus: string | null;
  /** The newest message, however old; null before the first. */
  live: HouseholdLive | null;
  /** Since midnight UTC, like the rewarded energy. */
  today: HouseholdDay;
  reward_wh: number;
  audit: AuditState;
}

/** One settlement of a slot: the first at the deadline, the next when a meter had come late. */
export interface StatementVersion {
  version: number;
  time_ms: number;
  /** Whether the home's own meter was there. */
  measured: boolean;
  /** Meters that were missing, of all homes. */
  missing: number;
  amount_nano: number;
  log_index: number;
  /** The slot before whose settlement this one stands in the log; null while that is not settled. */
  found_in: number | null;
}

export interface StatementRow {
  slot: number;
  start_ms: number;
  /** Which settlement of the slot this is: the newest. */
  version: number;
  /** All settlements, the first one first; empty when there was only one. */
  versions: StatementVersion[];
  measured: boolean;
  /** How its registers came about; `missing` without a reading. */
  quality: Quality | 'missing';
  import_wh: number;
  export_wh: number;
  bought_wh: number;
  sold_wh: number;
  price: number | null;
  retail: number;
  feed_in: number;
  local_import_wh: number;
  local_export_wh: number;
  grid_import_wh: number;
  grid_export_wh: number;
  /** Energy of earlier slots that became known only now. */
  late_import_wh: number;
  late_export_wh: number;
  amount_nano: number;
  alone_nano: number;
  /** Null where the auction alone says all. */
  sharing: SharedBill | null;
  reward_wh: number;
  audit: { verified: boolean; reason: string; time_ms: number } | null;
  log_index: number;
  anchored_seq: number | null;
}

/** Everything ever settled with a household. */
export interface HouseholdTotals {
  slots: number;
  import_wh: number;
  export_wh: number;
  bought_wh: number;
  sold_wh: number;
  amount_nano: number;
  saved_nano: number;
  reward_wh: number;
}

export type Quality = 'measured' | 'bridged' | 'integrated' | 'substituted';

/** Something that happened to a register; `before` and `after` are mWh unless the kind says otherwise. */
export interface MeterEvent {
  slot: number;
  register: string;
  kind: string;
  before: number;
  after: number;
  times: number;
  time_ms: number;
}

export interface Meter {
  reading_seq: number;
  last_reading_ms: number | null;
  quality: Quality | null;
  /** The smallest step of its registers, mWh; null when nobody knows. */
  resolution_mwh: number | null;
  /** Newest first. */
  events: MeterEvent[];
}

export interface HouseholdDetail extends Household {
  statements: StatementRow[];
  totals: HouseholdTotals;
  payout: string;
  reward_total: string;
  /** Null while the chain does not answer. */
  claimable: string | null;
  claimed: string | null;
  meter: Meter;
}

/** How far down the ladder a slot's answer stands: each is a little worse than the one before. */
export type Rung = 'lp' | 'exact' | 'envelopes' | 'shared';

/** Slots by rung. */
export interface Ladder {
  lp: number;
  exact: number;
  envelopes: number;
  shared: number;
  /** Slots below the exact clearing, per million; null before the first. */
  degraded_ppm: number | null;
}

/** A price as it is made up; the parts add up to it exactly. */
export interface PriceParts {
  reference: string | null;
  energy: number;
  grid_fee: number;
  congestion: number;
}

/** An order that holds a price where it is. */
export interface SetBy {
  /** The bound at the home that asks. */
  price: number;
  side: 'buy' | 'sell';
  /** Its limit where it stands. */
  limit: number;
  filled: boolean;
  own: boolean;
}

export interface WhyStep {
  quantity_wh: number;
  limit: number;
  filled_wh: number;
  rest: 'limit' | 'volume' | 'no_trade' | 'no_market' | null;
  would_trade_at: number | null;
}

/** One of the home's own orders, the most eager step first. */
export interface WhyOrder {
  side: 'buy' | 'sell';
  steps: WhyStep[];
}

/** Why a slot went as it did for one home. */
export interface Why {
  slot: number;
  start_ms: number;
  point: string;
  /** Null where all are at one bus. */
  bus: string | null;
  retail: number;
  feed_in: number;
  /** What members pay each other by; only `auction` takes orders. */
  rule: string;
  rung: Rung;
  no_market: string | null;
  price: number | null;
  parts: PriceParts | null;
  low: SetBy | null;
  high: SetBy | null;
  full: { name: string; towards: boolean; energy_wh: number | null }[];
  orders: WhyOrder[];
  missed: { side: 'buy' | 'sell'; quantity_wh: number; would_trade_at: number | null }[];
}

export interface Delivery {
  statement: { import_wh: number; export_wh: number; measured: boolean; amount: number };
  position: number;
  path: string[];
  header: LogHeader;
  log_path: string[];
  checkpoint: Signed<Checkpoint>;
  anchor: AnchorSummary | null;
}

export interface Refusals {
  total: number;
  by_reason: Record<string, number>;
  recent: { point: string | null; kind: string; reason: string; detail: string; time_ms: number }[];
}

/** What became of a claim: on its way, another one is, or there is nothing to claim. */
export type ClaimAnswer = 'queued' | 'under_way' | 'nothing';

/** What went wrong with a request, in words for the person in front of the page. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint: string,
    readonly status: number,
  ) {
    super(message);
    this.name = 'ApiError';
  }

  /** Whether the controller did not answer at all. */
  get unreachable(): boolean {
    return this.status === 0;
  }
}

const TIMEOUT_MS = 10_000;

async function get<T>(path: string): Promise<T> {
  return ask<T>(path, { headers: { accept: 'application/json' } });
}

async function ask<T>(path: string, options: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`${BASE}${path}`, { ...options, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch {
    throw new ApiError('unreachable', 'The street does not answer.', 'Is the controller running, and this device online?', 0);
  }
  if (!response.ok) throw await refusal(response);
  try {
    return (await response.json()) as T;
  } catch {
    throw new ApiError('not_json', 'The answer could not be read.', 'Something between here and the controller changes what it says.', response.status);
  }
}

async function refusal(response: Response): Promise<ApiError> {
  const body = (await response.json().catch(() => null)) as {
    error?: { code?: string; message?: string; hint?: string };
  } | null;
  const error = body?.error;
  return new ApiError(
    error?.code ?? `http_${response.status}`,
    error?.message ?? `The controller answered with ${response.status}.`,
    error?.hint ?? 'Try again in a moment.',
    response.status,
  );
}

const part = encodeURIComponent;

export const api = {
  street: () => get<Street>('/street'),
  slots: async (limit: number, before?: number) =>
    (await get<{ slots: SlotSummary[] }>(`/slots?limit=${limit}${before === undefined ? '' : `&before=${before}`}`)).slots,
  slot: (slot: number) => get<SlotDetail>(`/slots/${slot}`),
  feeder: () => get<Feeder>('/feeder'),
  feederSlot: (slot: number) => get<FeederSlot>(`/feeder/${slot}`),
  households: async () => (await get<{ households: Household[] }>('/households')).households,
  household: (point: string) => get<HouseholdDetail>(`/households/${part(point)}`),
  proof: (point: string, slot: number) => get<Delivery>(`/households/${part(point)}/proof/${slot}`),
  why: (point: string, slot: number) => get<Why>(`/households/${part(point)}/why/${slot}`),
  anchors: async (limit: number) => (await get<{ anchors: AnchorSummary[] }>(`/anchors?limit=${limit}`)).anchors,
  /** Asks the operator to send a household's claim to the chain; the header keeps other sites from doing so. */
  claim: async (point: string) =>
    (await ask<{ claim: ClaimAnswer }>(`/households/${part(point)}/claim`, { method: 'POST', headers: { 'x-streetwatt': 'claim' } })).claim,
  refusals: () => get<Refusals>('/refusals'),
};

/** Where the bundle of a range of slots is downloaded. */
export const bundleUrl = (fromSlot: number, toSlot: number) => `${BASE}/bundle?from=${fromSlot}&to=${toSlot}`;
export const eventsUrl = `${BASE}/events`;
