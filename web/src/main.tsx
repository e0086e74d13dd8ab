/** The dashboard: which runs, which view, by day and by night. */
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { RunSummary } from "../../src/server/dashboard/wire.ts";
import { api } from "./api.ts";
import { CompareView } from "./compare.tsx";
import { ConfigView } from "./config.tsx";
import { CurvesView } from "./curves.tsx";
import { formatAge, formatNumber } from "./format.ts";
import { Failure } from "./hits.tsx";
import { useLiveRuns } from "./live.ts";
import { useKept, useLoaded } from "./load.ts";
import { RolloutsView } from "./rollouts.tsx";
import { formatRoute, go, useRoute, views, type Route, type View } from "./route.ts";
import { TryView } from "./try.tsx";
import { WarningsView } from "./warnings.tsx";
import "uplot/dist/uPlot.min.css";
import "./style.css";

const titles: Record<View, string> = {
  curves: "Curves",
  rollouts: "Rollouts",
  compare: "Before and after",
  try: "Try it",
  warnings: "Warnings",
  config: "Settings",
};

/** Between two looks at the list of runs, in milliseconds. */
const listEveryMs = 10_000;
/** Runs that can be laid over each other. */
const maxRuns = 6;

type Scheme = "system" | "light" | "dark";

/** The colours that are in force: the reader's choice, or the system's. */
function useTheme(): { scheme: Scheme; theme: "light" | "dark"; next: () => void } {
  const [scheme, setScheme] = useKept<Scheme>("scheme", "system");
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [isDark, setDark] = useState(query.matches);
  useEffect(() => {
    const follow = (): void => setDark(query.matches);
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, []);
  const theme = scheme === "system" ? (isDark ? "dark" : "light") : scheme;
  document.documentElement.dataset.theme = theme;
  return { scheme, theme, next: () => setScheme(theme === "dark" ? "light" : "dark") };
}

function App() {
  const route = useRoute();
  const { theme, next } = useTheme();
  const list = useLoaded("runs", (signal) => api.runs(signal));
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && list.reload(), listEveryMs);
    return () => clearInterval(timer);
  }, []);
  const all = list.data ?? [];
  const wanted = route.runs.filter((id) => all.some((run) => run.id === id)).slice(0, maxRuns);
  const runs = wanted.length > 0 ? wanted : all.slice(0, 1).map(({ id }) => id);
  const live = useLiveRuns(runs);
  const [showsHelp, setShowsHelp] = useState(false);
  const here = { ...route, runs };
  useShortcuts(here, { onTheme: next, onHelp: () => setShowsHelp(true) });
  const main = runs[0];
  useEffect(() => {
    document.title = `${main ? `${main} · ` : ""}${titles[route.view]} · rec-r1`;
  }, [main, route.view]);
  const isLive = live.isConnected && all.some(({ id, status }) => runs.includes(id) && status === "training");
  return (
    <div class="app">
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        To the content
      </a>
      <header class="top">
        <h1>
          rec-r1 <span>{main ?? ""}</span>
        </h1>
        <span class={`live${isLive ? " on" : ""}`} role="status">
          {isLive ? "live" : live.isConnected || main === undefined ? "" : "connecting…"}
        </span>
        <button type="button" class="quiet" onClick={() => setShowsHelp(true)} aria-label="Keyboard shortcuts">
          ?
        </button>
        <button type="button" class="quiet" onClick={next}>
          {theme === "dark" ? "Light" : "Dark"}
        </button>
      </header>
      <RunList all={all} runs={runs} route={here} error={list.error} isLoading={list.isLoading && !list.data} />
      <nav class="views" aria-label="Views">
        {views.map((view, i) => (
          <a
            key={view}
            href={formatRoute({ view, runs, params: {} })}
            aria-current={route.view === view ? "page" : undefined}
            title={`Key ${i + 1}`}
          >
            {titles[view]}
          </a>
        ))}
      </nav>
      <main id="main" tabIndex={-1} aria-label={titles[route.view]}>
        {live.error && <Failure error={live.error} />}
        {main === undefined ? list.data && <Empty /> : renderView(here, main, all, live, theme)}
      </main>
      {showsHelp && <Help onClose={() => setShowsHelp(false)} />}
    </div>
  );
}

function renderView(
  route: Route,
  main: string,
  summaries: readonly RunSummary[],
  live: ReturnType<typeof useLiveRuns>,
  theme: string,
) {
  switch (route.view) {
    case "curves":
      return <CurvesView runs={route.runs} summaries={summaries} curves={live.curves} theme={theme} />;
    case "rollouts":
      return <RolloutsView key={main} run={main} route={route} newest={live.newestRollouts.get(main)} />;
    case "compare":
      return <CompareView key={main} run={main} route={route} />;
    case "try":
      return <TryView key={route.runs.join("\n")} runs={route.runs} />;
    case "warnings":
      return <WarningsView key={main} run={main} route={route} />;
    case "config":
      return <ConfigView runs={route.runs} />;
  }
}

function Empty() {
  return (
    <p class="none">
      No runs here yet. Start one with <code>rec-r1 train TASK --run runs/NAME</code>; it shows up by itself.
    </p>
  );
}

function RunList({
  all,
  runs,
  route,
  error,
  isLoading,
}: {
  all: readonly RunSummary[];
  runs: readonly string[];
  route: Route;
  error: Error | undefined;
  isLoading: boolean;
}) {
  const [find, setFind] = useState("");
  const matching = all.filter(({ id, task }) => `${id} ${task}`.toLowerCase().includes(find.trim().toLowerCase()));
  const toggle = (id: string): void => {
    const next = runs.includes(id) ? runs.filter((run) => run !== id) : [...runs, id].slice(-maxRuns);
    go({ ...route, runs: next, params: {} });
  };
  const isWide = matchMedia("(min-width: 60rem)").matches;
  return (
    <details class="runs" open={isWide}>
      <summary>
        Runs ({all.length}){runs.length > 1 && `, ${runs.length} shown`}
      </summary>
      {error && <Failure error={error} />}
      {isLoading && <p class="loading">Looking for runs…</p>}
      {all.length > 8 && (
        <input
          type="search"
          aria-label="Find a run"
          placeholder="Find a run"
          value={find}
          onInput={(event) => setFind(event.currentTarget.value)}
        />
      )}
      <ul>
        {matching.map((run) => {
          const place = runs.indexOf(run.id);
          return (
            <li key={run.id} class={place >= 0 ? "shown" : ""}>
              <input
                type="checkbox"
                aria-label={`Show ${run.id}`}
                checked={place >= 0}
                onChange={() => toggle(run.id)}
              />
              <a
                href={formatRoute({ view: route.view, runs: [run.id], params: {} })}
                aria-current={place === 0 ? "true" : undefined}
              >
                <span class="name">
                  {place >= 0 && <span class={`swatch line-${place + 1}`} aria-hidden="true" />}
                  {run.id}
                </span>
                <span class="meta">
                  <span class={`state ${run.status}`}>{run.status}</span> {run.step}/{run.totalSteps}
                  {run.best && ` · best ${formatNumber(run.best.value)}`}
                </span>
                <span class="meta">
                  {run.task} · {formatAge(run.updatedAt ?? run.createdAt)}
                </span>
              </a>
            </li>
          );
        })}
      </ul>
    </details>
  );
}

const shortcuts: readonly (readonly [key: string, does: string])[] = [
  ["1 … 6", "the views, from left to right"],
  ["/", "to the search field"],
  ["[ and ]", "the step before, the step after (Rollouts)"],
  ["j and k", "the next and the last example or query"],
  ["← and →", "along a curve or through tokens, when it has the focus"],
  ["t", "light or dark"],
  ["?", "this list"],
];

/** Keys work where nothing is being typed. */
function useShortcuts(route: Route, { onTheme, onHelp }: { onTheme: () => void; onHelp: () => void }): void {
  const latest = useRef({ route, onTheme, onHelp });
  latest.current = { route, onTheme, onHelp };
  useEffect(() => {
    const follow = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
      if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
      const { route: now, onTheme: theme, onHelp: help } = latest.current;
      const view = views[Number(event.key) - 1];
      if (view) go({ view, runs: now.runs, params: {} });
      else if (event.key === "t") theme();
      else if (event.key === "?") help();
      else if (event.key === "/") document.getElementById("find")?.focus();
      else if (event.key === "[" || event.key === "]") {
        document.querySelector<HTMLButtonElement>(`button[data-key="${event.key}"]`)?.click();
      } else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", follow);
    return () => removeEventListener("keydown", follow);
  }, []);
}

/** Moves to the next of the things that a view lists. */
function step(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>(".list .row, .compared, .suspects li a")];
  const at = rows.findIndex(
    (row) => row.contains(document.activeElement) || row.getAttribute("aria-current") === "true",
  );
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
  if (!next) return;
  if (next.classList.contains("compared")) next.tabIndex = -1;
  next.focus();
  next.scrollIntoView({ block: "nearest" });
  if (next.classList.contains("row")) next.click();
}

function Help({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="keys">
      <h2 id="keys">Keys</h2>
      <dl>
        {shortcuts.map(([key, does]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <button type="button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}

const app = document.getElementById("app") as HTMLElement;
app.replaceChildren();
render(<App />, app);
