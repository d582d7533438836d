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

class Router {
  path = $state(location.pathname);
  route = $derived(parse(this.path));
  #moved: () => void = () => {};

  /** Takes over clicks on links to our own pages. `moved` runs after each change of page. */
  start(moved: () => void): () => void {
    this.#moved = moved;
    const back = () => {
      this.path = location.pathname;
      this.#moved();
    };
    const click = (event: MouseEvent) => this.#click(event);
    window.addEventListener('popstate', back);
    document.addEventListener('click', click);
    return () => {
      window.removeEventListener('popstate', back);
      document.removeEventListener('click', click);
    };
  }

  go(path: string) {
    if (path === location.pathname) return;
    history.pushState(null, '', path);
    this.path = path;
    window.scrollTo(0, 0);
    this.#moved();
  }

  #click(event: MouseEvent) {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin || link.hash) return;
    if (link.pathname.startsWith('/api/')) return;
    event.preventDefault();
    this.go(link.pathname);
  }
}

export const router = new Router();
