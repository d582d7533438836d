// Where in the app the reader is, and how a click on one of our links gets there.

import { parse } from './routes';

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

  /** Names what is looked at on this page, without leaving the place that is read. */
  name(path: string) {
    if (path === location.pathname) return;
    history.replaceState(null, '', path);
    this.path = path;
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
