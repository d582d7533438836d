// Addresses of the pages. The server answers every one of them with the same document.

export type Route =
  | { page: 'street' }
  | { page: 'homes' }
  | { page: 'home'; point: string }
  | { page: 'feeder' }
  | { page: 'chain' }
  | { page: 'slot'; slot: number }
  | { page: 'unknown' };

export function parse(path: string): Route {
  const [first, second, ...rest] = path.split('/').filter(Boolean).map(decode);
  if (rest.length > 0) return { page: 'unknown' };
  if (first === undefined) return { page: 'street' };
  if (second === undefined && (first === 'homes' || first === 'feeder' || first === 'chain')) return { page: first };
  if (first === 'home' && second) return { page: 'home', point: second };
  if (first === 'slot' && second && /^\d{1,12}$/.test(second)) return { page: 'slot', slot: Number(second) };
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
  slot: (slot: number) => `/slot/${slot}`,
};
