/** The rollouts of a run: by step and example, or by what is in them. */
import { useEffect, useState } from "preact/hooks";
import type { GroupDetail, RolloutView, SearchPage } from "../../src/server/dashboard/wire.ts";
import { api } from "./api.ts";
import { formatNumber, formatSigned } from "./format.ts";
import { Failure, Hits, Wanted } from "./hits.tsx";
import { useLoaded, useTyped } from "./load.ts";
import { go, type Route } from "./route.ts";

/** Matches shown before more are asked for. */
const pageSize = 50;
/** Groups of a step in its list. */
const listedGroups = 50;

export function RolloutsView({ run, route, newest }: { run: string; route: Route; newest: number | undefined }) {
  const { params } = route;
  const steps = useLoaded(run, (signal) => api.steps(run, signal), newest);
  const known = steps.data?.steps ?? [];
  const step = params.step === undefined ? known.at(-1) : Number(params.step);
  const set = (changes: Record<string, string>): void => go({ ...route, params: { ...params, ...changes } });
  const isSearch = [params.text, params.min, params.max, params.of].some(
    (value) => value !== undefined && value !== "",
  );
  const failure = steps.error && <Failure error={steps.error} onRetry={steps.reload} />;
  if (!steps.data) return failure ?? <p class="loading">Loading rollouts…</p>;
  if (known.length === 0 || step === undefined) return <p class="none">This run has no rollouts yet.</p>;
  return (
    <>
      {failure}
      <SearchForm params={params} onChange={set} />
      {isSearch ? (
        <Matches run={run} params={params} onOpen={(view) => set({ step: String(view.step), example: view.example })} />
      ) : (
        <StepPicker steps={known} step={step} onPick={(next) => set({ step: String(next) })} />
      )}
      {!isSearch && (
        <Groups
          run={run}
          step={step}
          example={params.example || undefined}
          // With its step, which would be the newest one otherwise: what is read stays when the run goes on.
          onOpen={(of, example) => set({ step: String(of), example })}
        />
      )}
      {isSearch && params.example && params.step && (
        <Group run={run} step={step} example={params.example} onOf={(of) => set({ of })} />
      )}
    </>
  );
}

function SearchForm({
  params,
  onChange,
}: {
  params: Record<string, string>;
  onChange: (changes: Record<string, string>) => void;
}) {
  const inAddress = { text: params.text ?? "", min: params.min ?? "", max: params.max ?? "" };
  const [{ text, min, max }, type] = useTyped(inAddress, (typed) => onChange({ ...typed, example: "" }), 350);
  const isFiltered = text !== "" || min !== "" || max !== "" || (params.of ?? "") !== "";
  return (
    <form class="controls" role="search" onSubmit={(event) => event.preventDefault()}>
      <label>
        Search completions and queries
        <input type="search" id="find" value={text} onInput={(event) => type({ text: event.currentTarget.value })} />
      </label>
      <label>
        Reward from
        <input type="number" step="any" value={min} onInput={(event) => type({ min: event.currentTarget.value })} />
      </label>
      <label>
        to
        <input type="number" step="any" value={max} onInput={(event) => type({ max: event.currentTarget.value })} />
      </label>
      {isFiltered && (
        <button
          type="button"
          onClick={() => {
            const none = { text: "", min: "", max: "" };
            type(none);
            onChange({ ...none, of: "", example: "" });
          }}
        >
          Show all
        </button>
      )}
    </form>
  );
}

function StepPicker({
  steps,
  step,
  onPick,
}: {
  steps: readonly number[];
  step: number;
  onPick: (step: number) => void;
}) {
  const at = Math.max(
    0,
    steps.findLastIndex((known) => known <= step),
  );
  const [{ wanted }, type] = useTyped(
    { wanted: String(step) },
    (typed) => {
      if (typed.wanted !== "" && steps.includes(Number(typed.wanted))) onPick(Number(typed.wanted));
    },
    300,
  );
  const move = (by: number): void => {
    const next = steps[Math.min(steps.length - 1, Math.max(0, at + by))];
    if (next !== undefined) onPick(next);
  };
  return (
    <div class="controls steps" role="group" aria-label="Step">
      <button type="button" data-key="[" disabled={at === 0} onClick={() => move(-1)}>
        ‹ Before
      </button>
      <label>
        Step
        <input
          type="number"
          min={steps[0]}
          max={steps.at(-1)}
          value={wanted}
          onInput={(event) => type({ wanted: event.currentTarget.value })}
        />
        of {steps.at(-1)}
      </label>
      <button type="button" data-key="]" disabled={at === steps.length - 1} onClick={() => move(1)}>
        Next ›
      </button>
      <input
        type="range"
        aria-label="Step, by slider"
        min={0}
        max={steps.length - 1}
        value={at}
        onChange={(event) => onPick(steps[Number(event.currentTarget.value)] as number)}
      />
    </div>
  );
}

function Groups({
  run,
  step,
  example,
  onOpen,
}: {
  run: string;
  step: number;
  example: string | undefined;
  onOpen: (step: number, example: string) => void;
}) {
  const [turnedTo, turnTo] = useState<number | undefined>(undefined);
  useEffect(() => turnTo(undefined), [step]);
  const query = { step, example, offset: turnedTo, limit: listedGroups };
  const { data, error, isLoading, reload } = useLoaded(JSON.stringify([run, query]), (signal) =>
    api.groups(run, query, signal),
  );
  if (error) return <Failure error={error} onRetry={reload} />;
  if (!data) return <p class="loading">Loading step {step}…</p>;
  const { offset, total } = data;
  const isHere = data.asked === example || data.groups.some((group) => group.example === example);
  const isMissing = example !== undefined && !isHere && !isLoading;
  const open = example === undefined || isMissing ? data.groups[0]?.example : isHere ? example : undefined;
  return (
    <div class="split">
      <nav aria-label={`Examples of step ${data.step}`} class="list">
        <ul>
          {data.groups.map((group) => (
            <li key={group.example}>
              <button
                type="button"
                class="row"
                aria-current={group.example === open}
                onClick={() => onOpen(data.step, group.example)}
              >
                <span class="text">{group.text ?? group.example}</span>
                <Range low={group.worst} high={group.best} mean={group.mean} />
                {group.failed > 0 && <span class="warn">{group.failed} failed</span>}
              </button>
            </li>
          ))}
        </ul>
        {total > listedGroups && (
          <p class="pager">
            <button type="button" disabled={offset === 0} onClick={() => turnTo(Math.max(0, offset - listedGroups))}>
              Before
            </button>
            {offset + 1}–{Math.min(total, offset + listedGroups)} of {total}
            <button
              type="button"
              disabled={offset + listedGroups >= total}
              onClick={() => turnTo(offset + listedGroups)}
            >
              Next
            </button>
          </p>
        )}
      </nav>
      {/* What is shown until the next step is there is of the step before. */}
      {open !== undefined && data.step === step && (
        <div>
          {isMissing && (
            <p class="meta">
              Step {step} has no rollouts of the example <code>{example}</code>; this is the first of those it has.
            </p>
          )}
          <Group run={run} step={step} example={open} onOf={undefined} />
        </div>
      )}
    </div>
  );
}

/** Lowest, mean and highest reward of a group. */
function Range({ low, mean, high }: { low: number | null; mean: number | null; high: number | null }) {
  if (low === null || high === null) return <span class="range">no reward</span>;
  const isEqual = high - low < 1e-9;
  return (
    <span class={`range${isEqual ? " equal" : ""}`}>
      {isEqual ? `all ${formatNumber(low)}` : `${formatNumber(low)} … ${formatNumber(high)}`}
      <b>{formatNumber(mean)}</b>
    </span>
  );
}

function Group({
  run,
  step,
  example,
  onOf,
}: {
  run: string;
  step: number;
  example: string;
  onOf: ((example: string) => void) | undefined;
}) {
  const { data, error, reload } = useLoaded(`${run} ${step} ${example}`, (signal) =>
    api.group(run, step, example, signal),
  );
  const [showsTokens, setShowsTokens] = useState(false);
  if (error) return <Failure error={error} onRetry={reload} />;
  if (!data) return <p class="loading">Loading the group…</p>;
  const hasTokens = data.rollouts.some(({ tokenTexts }) => tokenTexts !== null);
  return (
    <section class="group" aria-label={`Completions of ${data.text ?? data.example} at step ${data.step}`}>
      <header>
        <h2>{data.text ?? data.example}</h2>
        <p class="meta">
          step {data.step}, {data.rollouts.length} completions, example <code>{data.example}</code>
        </p>
        <Wanted items={data.relevant} />
        <p class="actions">
          {hasTokens ? (
            <button type="button" aria-pressed={showsTokens} onClick={() => setShowsTokens(!showsTokens)}>
              Token by token
            </button>
          ) : (
            <TokensMissing detail={data} />
          )}
          {onOf && (
            <button type="button" onClick={() => onOf(data.example)}>
              This example at every step
            </button>
          )}
        </p>
      </header>
      <div class="cards">
        {data.rollouts.map((rollout) => (
          <Card key={rollout.sample} rollout={rollout} showsTokens={showsTokens} />
        ))}
      </div>
    </section>
  );
}

function TokensMissing({ detail }: { detail: GroupDetail }) {
  return (
    <span class="hint">
      {detail.tokensEvery > 0
        ? `Log-probs of tokens are recorded at steps that ${detail.tokensEvery} divides, and at the first (recordTokensEvery).`
        : "Log-probs of tokens were not recorded (recordTokensEvery)."}
    </span>
  );
}

function Card({ rollout, showsTokens }: { rollout: RolloutView; showsTokens: boolean }) {
  const { reward, advantage, query, completion, hits, failure, tokens, stop, parts, turns } = rollout;
  const sign = advantage === null || advantage === 0 ? "" : advantage > 0 ? " up" : " down";
  return (
    <article class={`card${sign}`} aria-label={`Sample ${rollout.sample + 1}`}>
      <header>
        <span class="figure">
          <span class="label">reward</span> <b>{formatNumber(reward)}</b>
        </span>
        <span class="figure">
          <span class="label">advantage</span> <b class="advantage">{formatSigned(advantage)}</b>
        </span>
      </header>
      {failure !== null && <p class="failure">{failure}</p>}
      <p class="query">{query ?? <em>no query could be read</em>}</p>
      {query !== completion && !showsTokens && (
        <p class="completion">{completion === "" ? <em>empty</em> : completion}</p>
      )}
      {showsTokens && <Tokens rollout={rollout} />}
      {turns.length > 1 && (
        <ol class="turns">
          {turns.map((turn, i) => (
            <li key={i}>{turn.query ?? turn.completion}</li>
          ))}
        </ol>
      )}
      <Hits hits={hits} label="Found" />
      <p class="meta">
        {tokens} tokens{stop === "length" && ", cut off"}
        {Object.entries(parts).map(([name, value]) => `, ${name} ${formatNumber(value)}`)}
      </p>
    </article>
  );
}

/** Probabilities from which a token is drawn less and less pale. */
const surprising = [0.9, 0.5, 0.2, 0.05, 0.01];

function Tokens({ rollout }: { rollout: RolloutView }) {
  const { tokenTexts, tokenLogprobs, advantage } = rollout;
  const [at, setAt] = useState(0);
  if (!tokenTexts || !tokenLogprobs) return null;
  const move = (event: KeyboardEvent): void => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    setAt(Math.min(tokenTexts.length - 1, Math.max(0, at + by)));
  };
  const logprob = tokenLogprobs[at] ?? 0;
  const shown = tokenTexts[at] === "" ? "(no text of its own)" : `“${tokenTexts[at] ?? ""}”`;
  const reading = `${shown}: log-prob ${logprob.toFixed(3)}, probability ${formatNumber(Math.exp(logprob))}, advantage ${formatSigned(advantage)}`;
  return (
    <div class="tokens">
      <p
        role="slider"
        tabIndex={0}
        aria-label="Tokens"
        aria-valuemin={1}
        aria-valuemax={tokenTexts.length}
        aria-valuenow={at + 1}
        aria-valuetext={reading}
        onKeyDown={move}
      >
        {tokenTexts.map((text, i) => {
          const level = surprising.filter((limit) => Math.exp(tokenLogprobs[i] ?? 0) < limit).length;
          return (
            <span key={i} class={`token p${level}${i === at ? " at" : ""}`} onPointerEnter={() => setAt(i)}>
              {text === "" ? "·" : text}
            </span>
          );
        })}
      </p>
      <p class="reading">{reading}</p>
    </div>
  );
}

function Matches({
  run,
  params,
  onOpen,
}: {
  run: string;
  params: Record<string, string>;
  onOpen: (rollout: RolloutView) => void;
}) {
  const key = JSON.stringify([run, params.text, params.min, params.max, params.of]);
  const [pages, setPages] = useState<{ key: string; pages: SearchPage[] }>({ key, pages: [] });
  const [wanted, setWanted] = useState(pageSize);
  const [error, setError] = useState<Error | undefined>(undefined);
  const mine = pages.key === key ? pages.pages : [];
  const matches = mine.flatMap((page) => page.matches);
  const last = mine.at(-1);
  const cursor = last === undefined ? undefined : last.next;
  const goesOn = cursor !== null && matches.length < wanted;
  useEffect(() => setWanted(pageSize), [key]);
  useEffect(() => {
    if (!goesOn) return;
    const controller = new AbortController();
    const query = {
      text: params.text,
      example: params.of,
      minReward: params.min,
      maxReward: params.max,
      cursor: cursor ?? undefined,
      limit: pageSize,
    };
    api.search(run, query, controller.signal).then(
      (page) => {
        setError(undefined);
        setPages((before) => ({ key, pages: before.key === key ? [...before.pages, page] : [page] }));
      },
      (cause: Error) => {
        if (!controller.signal.aborted) setError(cause);
      },
    );
    return () => controller.abort();
  }, [key, cursor, goesOn]);
  if (error) return <Failure error={error} />;
  return (
    <section class="matches" aria-label="Rollouts that match">
      <p class="meta" aria-live="polite">
        {matches.length} rollouts found{params.of ? ` of this example` : ""}, in {last?.searched ?? 0} of{" "}
        {last?.steps ?? "…"} steps
        {goesOn ? "; searching on…" : cursor === null ? "; that is all" : ""}
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Table of matches">
        <table>
          <thead>
            <tr>
              <th scope="col">Step</th>
              <th scope="col">Reward</th>
              <th scope="col">Advantage</th>
              <th scope="col">Query</th>
              <th scope="col">First hit</th>
            </tr>
          </thead>
          <tbody>
            {matches.map((rollout) => (
              <tr key={`${rollout.step} ${rollout.example} ${rollout.sample}`}>
                <td>{rollout.step}</td>
                <td>{formatNumber(rollout.reward)}</td>
                <td>{formatSigned(rollout.advantage)}</td>
                <td>
                  <button type="button" class="link" onClick={() => onOpen(rollout)}>
                    {rollout.query ?? (rollout.completion || "(empty)")}
                  </button>
                </td>
                <td>{rollout.hits?.[0] ? (rollout.hits[0].title ?? rollout.hits[0].id) : "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {cursor !== null && !goesOn && (
        <button type="button" onClick={() => setWanted(matches.length + pageSize)}>
          More
        </button>
      )}
    </section>
  );
}
