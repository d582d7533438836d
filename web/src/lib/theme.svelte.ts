// Light or dark, as the device says or the reader chooses; and the colours as the charts need them.

import type { Tone } from './flow';

export type Choice = 'auto' | 'light' | 'dark';
const KEY = 'streetwatt.theme';

export interface Palette {
  tone: Record<Tone, string>;
  ink: string;
  muted: string;
  line: string;
  surface: string;
  font: string;
}

class Theme {
  choice = $state<Choice>('auto');
  /** Changes with every switch, so that charts draw anew. */
  palette = $state.raw<Palette | null>(null);
  #system = matchMedia('(prefers-color-scheme: dark)');

  /** Runs before the first paint, so that the page never flashes in the wrong colours. */
  start(): void {
    this.choose(read());
    this.#system.addEventListener('change', () => this.#apply());
  }

  choose(choice: Choice) {
    this.choice = choice;
    try {
      localStorage.setItem(KEY, choice);
    } catch {
      // Private windows may forbid storage; the choice then lasts as long as the page.
    }
    this.#apply();
  }

  #apply() {
    const dark = this.choice === 'dark' || (this.choice === 'auto' && this.#system.matches);
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    this.#measure();
  }

  #measure() {
    const style = getComputedStyle(document.documentElement);
    const value = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const tones: Tone[] = ['sun', 'battery', 'home', 'near', 'grid', 'car', 'bad'];
    this.palette = {
      tone: Object.fromEntries(tones.map((name) => [name, value(name)])) as Record<Tone, string>,
      ink: value('ink'),
      muted: value('muted'),
      line: value('line'),
      surface: value('surface'),
      font: style.fontFamily,
    };
  }
}

function read(): Choice {
  try {
    const stored = localStorage.getItem(KEY);
    return stored === 'light' || stored === 'dark' ? stored : 'auto';
  } catch {
    return 'auto';
  }
}

export const theme = new Theme();
