// Addresses of the pages. The server answers every one of them with the same document.

export type Route =
  | { page: 'street' }
  | { page: 'homes' }
  | { page: 'home'; point: string; why: number | null }
  | { page: 'feeder'; slot: number | null }
  | { page: 'chain' }
  | { page: 'slot'; slot: number }
  | { page: 'unknown' };

const SLOT = /^\d{1,12}$/;

export function parse(path: string): Route {
  const [first, second, third, slot, ...rest] = path.split('/').filter(Boolean).map(decode);
  if (first === 'home' && second && third === 'why' && slot && SLOT.test(slot) && rest.length === 0) return { page: 'home', point: second, why: Number(slot) };
  if (third !== undefined) return { page: 'unknown' };
  if (first === undefined) return { page: 'street' };
  if (second === undefined && (first === 'homes' || first === 'chain')) return { page: first };
  if (first === 'feeder' && (second === undefined || SLOT.test(second))) return { page: 'feeder', slot: second === undefined ? null : Number(second) };
  if (first === 'home' && second) return { page: 'home', point: second, why: null };
  if (first === 'slot' && second && SLOT.test(second)) return { page: 'slot', slot: Number(second) };
  return { page: 'unknown' };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export const href = {
  home: (point: string) => `/home/${encodeURIComponent(point)}`,
  /** A home's page, opened at the question why a slot's price was what it was. */
  why: (point: string, slot: number) => `/home/${encodeURIComponent(point)}/why/${slot}`,
  feeder: (slot: number) => `/feeder/${slot}`,
  slot: (slot: number) => `/slot/${slot}`,
};
