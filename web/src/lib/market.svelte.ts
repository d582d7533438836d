// What every page shares: the street as last heard, its slots of today, the market's clock, and
// whether the connection stands.

import { api, ApiError, eventsUrl, type AnchorSummary, type Offer, type SlotSummary, type Street, type StreetLive } from './api';
import { SLOT_MS, slotsOfDay } from './format';
import { openStream, type StreamEvents, type StreamState } from './stream';

const TICK_MS = 500;
const REFRESH_MS = 60_000;
const RETRY_MS = 3_000;
/** Two days of slots are kept; older ones are asked for again when someone looks. */
const KEPT_SLOTS = 200;
const PAGE = 96;

class Market {
  street = $state.raw<Street | null>(null);
  /** Newest first. */
  slots = $state.raw<SlotSummary[]>([]);
  stream = $state<StreamState>('connecting');
  error = $state.raw<ApiError | null>(null);
  /** When the connection was lost, in this device's time. */
  lostAt = $state<number | null>(null);
  /** The market's time now. */
  nowMs = $state(Date.now());
  /** How old the newest live sums are, in this device's time. */
  liveAgeMs = $state<number | null>(null);
  /** Count up when something new is there, for pages that refetch. */
  settledCount = $state(0);
  anchoredCount = $state(0);
  /** Counts up when the street is heard again after it was not. */
  healedCount = $state(0);
  audited = $state.raw<StreamEvents['audit'] | null>(null);

  #anchorMarket = 0;
  #anchorHere = 0;
  #liveHere = 0;
  #refresh: ReturnType<typeof setTimeout> | undefined;
  #wanted = false;
  #busy = false;

  /** Whether the market's clock is this device's. */
  get simulated(): boolean {
    return this.street !== null && this.street.speed !== 1;
  }

  /** Market milliseconds in this device's milliseconds. */
  here(marketMs: number): number {
    return marketMs / (this.street?.speed || 1);
  }

  /** The next gate that is still open. */
  get nextOffer(): Offer | null {
    const open = (this.street?.offers ?? []).filter((offer) => offer.gate_ms > this.nowMs);
    return open.sort((a, b) => a.gate_ms - b.gate_ms).at(0) ?? null;
  }

  start(): () => void {
    const close = openStream(eventsUrl, {
      event: (kind, data) => this.#event(kind, data),
      state: (state) => this.#streamState(state),
    });
    const tick = setInterval(() => this.#tick(), TICK_MS);
    const refetch = () => document.visibilityState === 'visible' && void this.refresh();
    const offline = () => this.#lost();
    document.addEventListener('visibilitychange', refetch);
    window.addEventListener('online', refetch);
    window.addEventListener('offline', offline);
    void this.refresh();
    return () => {
      close();
      clearInterval(tick);
      clearTimeout(this.#refresh);
      document.removeEventListener('visibilitychange', refetch);
      window.removeEventListener('online', refetch);
      window.removeEventListener('offline', offline);
    };
  }

  /** Asks for the whole picture again; calls that arrive meanwhile become one more. */
  async refresh(): Promise<void> {
    if (this.#busy) {
      this.#wanted = true;
      return;
    }
    this.#busy = true;
    clearTimeout(this.#refresh);
    try {
      const [street, slots] = await Promise.all([api.street(), this.#today()]);
      this.#take(street, slots);
    } catch (fault) {
      this.error = fault instanceof ApiError ? fault : new ApiError('page', String(fault), 'Reload the page.', 0);
      this.#lost();
    }
    this.#busy = false;
    const again = this.#wanted ? 0 : this.error ? RETRY_MS : REFRESH_MS;
    this.#wanted = false;
    this.#refresh = setTimeout(() => void this.refresh(), again);
  }

  #take(street: Street, slots: SlotSummary[]) {
    this.street = street;
    if (this.error !== null) this.healedCount += 1;
    this.error = null;
    this.lostAt = this.stream === 'lost' ? this.lostAt : null;
    this.#anchorMarket = street.now_ms;
    this.#anchorHere = performance.now();
    this.#heardLive(street.live);
    this.slots = slots;
    this.#tick();
  }

  async #today(): Promise<SlotSummary[]> {
    const newest = await api.slots(PAGE);
    const oldest = newest.at(-1);
    if (!oldest || newest.length < PAGE || slotsOfDay(newest[0]!.start_ms)[0]! >= oldest.slot) return newest;
    return newest.concat(await api.slots(PAGE, oldest.slot));
  }

  #event<K extends keyof StreamEvents>(kind: K, data: StreamEvents[K]) {
    if (kind === 'live') this.#live(data as StreetLive);
    if (kind === 'offer') this.#offer(data as Offer);
    if (kind === 'cleared' || kind === 'settled') this.#slot(data as SlotSummary);
    if (kind === 'corrected') this.#corrected(data as SlotSummary);
    if (kind === 'settled' || kind === 'corrected') this.settledCount += 1;
    if (kind === 'anchored') this.#anchor(data as AnchorSummary);
    if (kind === 'audit') this.audited = data as StreamEvents['audit'];
  }

  #live(live: StreetLive) {
    if (this.street) this.street = { ...this.street, live };
    this.#heardLive(live);
  }

  #heardLive(live: StreetLive) {
    this.#liveHere = performance.now() - (live.age_ms === null ? 0 : this.here(live.age_ms));
    this.liveAgeMs = live.age_ms === null ? null : performance.now() - this.#liveHere;
  }

  #offer(offer: Offer) {
    if (!this.street) return;
    const rest = this.street.offers.filter((old) => old.slot !== offer.slot && old.gate_ms > this.nowMs - SLOT_MS);
    this.street = { ...this.street, offers: [...rest, offer].slice(-PAGE) };
  }

  /** An old slot with new figures: it replaces itself, and nothing is newer than before. */
  #corrected(slot: SlotSummary) {
    this.slots = this.slots.map((old) => (old.slot === slot.slot ? slot : old));
    if (this.street?.last?.slot === slot.slot) this.street = { ...this.street, last: slot };
  }

  #slot(slot: SlotSummary) {
    const rest = this.slots.filter((old) => old.slot !== slot.slot);
    this.slots = [...rest, slot].sort((a, b) => b.slot - a.slot).slice(0, KEPT_SLOTS);
    if (!this.street) return;
    this.street = { ...this.street, last: this.slots.find((other) => other.state === 'settled') ?? slot };
    // Sums and counts of the day are the controller's to make.
    void this.refresh();
  }

  #anchor(anchor: AnchorSummary) {
    if (this.street) this.street = { ...this.street, anchor };
    this.anchoredCount += 1;
  }

  #streamState(state: StreamState) {
    const before = this.stream;
    this.stream = state;
    if (state === 'lost') this.#lost();
    // Whatever happened while the stream was down is fetched, not guessed.
    if (state === 'open' && before === 'lost') {
      this.lostAt = null;
      this.healedCount += 1;
      void this.refresh();
    }
  }

  #lost() {
    this.lostAt ??= Date.now();
  }

  #tick() {
    const passed = performance.now() - this.#anchorHere;
    if (this.street) this.nowMs = this.#anchorMarket + passed * this.street.speed;
    if (this.liveAgeMs !== null) this.liveAgeMs = performance.now() - this.#liveHere;
  }
}

export const market = new Market();
