import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openStream, type StreamState } from './stream';

class FakeSource {
  static CLOSED = 2;
  static all: FakeSource[] = [];
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  listeners = new Map<string, (event: { data: string }) => void>();
  constructor(readonly url: string) {
    FakeSource.all.push(this);
  }
  addEventListener(kind: string, listener: (event: { data: string }) => void) {
    this.listeners.set(kind, listener);
  }
  close() {
    this.readyState = 2;
  }
}

const states: StreamState[] = [];
const heard: [string, unknown][] = [];
let close: () => void;
const newest = () => FakeSource.all.at(-1)!;

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('EventSource', FakeSource);
  FakeSource.all.length = states.length = heard.length = 0;
  close = openStream('/events', { state: (state) => states.push(state), event: (kind, data) => heard.push([kind, data]) });
});

afterEach(() => {
  close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test('events arrive decoded, and an unreadable one breaks nothing', () => {
  newest().onopen?.();
  newest().listeners.get('live')?.({ data: '{' });
  newest().listeners.get('live')?.({ data: '{"reporting":3}' });
  expect(states).toEqual(['connecting', 'open']);
  expect(heard).toEqual([['live', { reporting: 3 }]]);
});

test('a closed connection is opened again, later and later, and heals', () => {
  for (const wait of [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
    const before = FakeSource.all.length;
    newest().readyState = 2;
    newest().onerror?.();
    vi.advanceTimersByTime(wait - 1);
    expect(FakeSource.all.length).toBe(before);
    vi.advanceTimersByTime(1);
    expect(FakeSource.all.length).toBe(before + 1);
  }
  newest().onopen?.();
  expect(states.at(-1)).toBe('open');
});

test('while the browser itself retries, nothing is opened besides', () => {
  newest().onerror?.();
  vi.advanceTimersByTime(20_000);
  expect(states).toEqual(['connecting', 'lost']);
  expect(FakeSource.all).toHaveLength(1);
});

test('a connection that went silent is replaced', () => {
  newest().onopen?.();
  vi.advanceTimersByTime(44_000);
  newest().listeners.get('live')?.({ data: '{}' });
  vi.advanceTimersByTime(44_000);
  expect(FakeSource.all).toHaveLength(1);
  vi.advanceTimersByTime(2_000);
  expect(FakeSource.all).toHaveLength(2);
});

test('after closing nothing is opened any more', () => {
  close();
  newest().onerror?.();
  vi.advanceTimersByTime(120_000);
  expect(FakeSource.all).toHaveLength(1);
});
