// The street's event stream: stays open, says when it is not, and comes back by itself.

import type { AnchorSummary, Offer, SlotSummary, StreetLive } from './api';

export interface StreamEvents {
  live: StreetLive;
  offer: Offer;
  cleared: SlotSummary;
  settled: SlotSummary;
  /** A slot that was settled again, because a meter came late. */
  corrected: SlotSummary;
  anchored: AnchorSummary;
  audit: { point: string; slot: number; version: number; verified: boolean };
}

export type StreamState = 'connecting' | 'open' | 'lost';

export interface StreamHandlers {
  event<K extends keyof StreamEvents>(kind: K, data: StreamEvents[K]): void;
  state(state: StreamState): void;
}

const KINDS: (keyof StreamEvents)[] = ['live', 'offer', 'cleared', 'settled', 'corrected', 'anchored', 'audit'];

/** The browser retries a dropped connection itself; a closed one is opened anew after this long. */
const FIRST_RETRY_MS = 1_000;
const LAST_RETRY_MS = 15_000;
/** A live street speaks every second; after this silence the connection may be dead without knowing. */
const SILENCE_MS = 45_000;

/** Opens the stream and returns how to close it. */
export function openStream(url: string, handlers: StreamHandlers): () => void {
  let source: EventSource | null = null;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let silence: ReturnType<typeof setTimeout> | undefined;
  let wait = FIRST_RETRY_MS;
  let closed = false;

  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(connect, SILENCE_MS);
  };

  function connect() {
    if (closed) return;
    clearTimeout(retry);
    source?.close();
    const mine = new EventSource(url);
    source = mine;
    heard();
    mine.onopen = () => {
      wait = FIRST_RETRY_MS;
      handlers.state('open');
    };
    mine.onerror = () => {
      if (mine !== source || closed) return;
      handlers.state('lost');
      if (mine.readyState !== EventSource.CLOSED) return;
      clearTimeout(retry);
      retry = setTimeout(connect, wait);
      wait = Math.min(wait * 2, LAST_RETRY_MS);
    };
    for (const kind of KINDS) mine.addEventListener(kind, (event) => deliver(kind, event as MessageEvent<string>));
  }

  function deliver<K extends keyof StreamEvents>(kind: K, event: MessageEvent<string>) {
    heard();
    let data: StreamEvents[K];
    try {
      data = JSON.parse(event.data) as StreamEvents[K];
    } catch {
      // One unreadable event is not worth a broken page: the next refetch carries the same facts.
      return;
    }
    handlers.event(kind, data);
  }

  handlers.state('connecting');
  connect();
  return () => {
    closed = true;
    clearTimeout(retry);
    clearTimeout(silence);
    source?.close();
  };
}
