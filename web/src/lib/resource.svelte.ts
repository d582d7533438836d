// One thing a page fetches: loading, here, here but old, or not to be had.

import { untrack } from 'svelte';
import { ApiError } from './api';

export class Resource<T> {
  value = $state.raw<T | null>(null);
  error = $state.raw<ApiError | null>(null);
  loading = $state(true);
  /** When the value arrived, in this device's time. */
  at = $state<number | null>(null);

  #fetch: () => Promise<T>;
  #busy = false;
  #again = false;

  constructor(fetch: () => Promise<T>) {
    this.#fetch = fetch;
  }

  /** Fetches; a call that arrives meanwhile makes it fetch once more. A fault keeps the old value. */
  load = async (): Promise<void> => {
    if (this.#busy) {
      this.#again = true;
      return;
    }
    this.#busy = true;
    do {
      this.#again = false;
      try {
        // What the request reads decides nothing about when it is made.
        this.value = await untrack(this.#fetch);
        this.at = Date.now();
        this.error = null;
      } catch (fault) {
        this.error = fault instanceof ApiError ? fault : new ApiError('page', String(fault), 'Reload the page.', 0);
      }
    } while (this.#again);
    this.#busy = false;
    this.loading = false;
  };

  /** Fetches now, and again whenever what it is given changes. For use inside an effect. */
  on(..._reasons: unknown[]): void {
    void this.load();
  }

  /** Fetches now and every so often while the page is looked at. Returns how to stop. */
  every(intervalMs: number): () => void {
    void this.load();
    const timer = setInterval(() => document.visibilityState === 'visible' && void this.load(), intervalMs);
    return () => clearInterval(timer);
  }
}
