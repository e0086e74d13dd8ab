/** Where the reader is, kept in the address behind `#`: it can be sent to a colleague, and Back goes back. */
import { useEffect, useState } from "preact/hooks";

export const views = ["curves", "rollouts", "compare", "try", "warnings", "config"] as const;
export type View = (typeof views)[number];

export interface Route {
  view: View;
  /** Runs that are shown, the first of them in full. */
  runs: string[];
  params: Record<string, string>;
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const search = new URLSearchParams(query);
  const runs = search.getAll("run");
  search.delete("run");
  return {
    view: views.find((view) => view === path) ?? "curves",
    runs: [...new Set(runs)],
    params: Object.fromEntries(search),
  };
}

export function formatRoute({ view, runs, params }: Route): string {
  const query = new URLSearchParams();
  for (const run of runs) query.append("run", run);
  for (const [key, value] of Object.entries(params)) if (value !== "") query.set(key, value);
  return `#/${view}?${query}`;
}

/** Goes there; `replace` leaves no step to go back to. */
export function go(route: Route, { replace = false } = {}): void {
  const hash = formatRoute(route);
  if (hash === location.hash) return;
  if (replace) {
    history.replaceState(null, "", hash);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = hash;
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const follow = (): void => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}
