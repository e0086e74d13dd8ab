/** Before and after: what raw words, the untrained and the tuned policy find for each query. */
import { useState } from "preact/hooks";
import type { ComparedQuery, ComparisonPage, PolicyName, TermCredit } from "../../src/server/dashboard/wire.ts";
import { api } from "./api.ts";
import { formatNumber, formatSigned } from "./format.ts";
import { Failure, Hits, Wanted } from "./hits.tsx";
import { useLoaded, useTyped } from "./load.ts";
import { go, type Route } from "./route.ts";

const pageSize = 25;
const policies: readonly PolicyName[] = ["raw", "untrained", "tuned"];
export const policyTitles: Record<PolicyName, string> = {
  raw: "The user's words",
  untrained: "Untrained policy",
  tuned: "Tuned policy",
};

export function CompareView({ run, route }: { run: string; route: Route }) {
  const { params } = route;
  const set = (changes: Record<string, string>): void =>
    go({ ...route, params: { ...params, offset: "", ...changes } }, { replace: true });
  const [{ text }, type] = useTyped({ text: params.text ?? "" }, set);
  const filter = params.filter ?? "worse";
  const order = params.order ?? (filter === "better" ? "gain" : "loss");
  const offset = Number(params.offset ?? 0);
  const query = {
    split: params.split,
    baseline: params.baseline,
    order,
    filter,
    text: params.text,
    example: params.of,
    offset,
    limit: pageSize,
  };
  const { data, error, isLoading, reload } = useLoaded(JSON.stringify([run, query]), (signal) =>
    api.comparison(run, query, signal),
  );
  if (error) return <Failure error={error} onRetry={reload} />;
  if (!data) return <p class="loading">Comparing…</p>;
  if ("missing" in data) return <p class="none">{data.missing}</p>;
  const tabs = [
    ["better", `Better (${data.better})`],
    ["worse", `Worse (${data.worse})`],
    ["equal", `Equal (${data.equal})`],
    ["all", "All"],
  ] as const;
  return (
    <>
      <Verdict data={data} />
      <div class="controls" role="group" aria-label="Which queries">
        <div class="tabs">
          {tabs.map(([name, label]) => (
            <button
              key={name}
              type="button"
              aria-pressed={filter === name}
              onClick={() => set({ filter: name, order: "" })}
            >
              {label}
            </button>
          ))}
        </div>
        <label>
          Compared with
          <select value={data.baseline} onChange={(event) => set({ baseline: event.currentTarget.value })}>
            {data.baselines.map((name) => (
              <option key={name} value={name}>
                {policyTitles[name]}
              </option>
            ))}
          </select>
        </label>
        {data.splits.length > 1 && (
          <label>
            Split
            <select value={data.split} onChange={(event) => set({ split: event.currentTarget.value })}>
              {data.splits.map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
        <label>
          Order
          <select value={order} onChange={(event) => set({ order: event.currentTarget.value })}>
            <option value="gain">most gained first</option>
            <option value="loss">most lost first</option>
            <option value="text">by the user's words</option>
          </select>
        </label>
        <label>
          Find
          <input type="search" id="find" value={text} onInput={(event) => type({ text: event.currentTarget.value })} />
        </label>
        {params.of && (
          <button type="button" onClick={() => set({ of: "" })}>
            Show all queries
          </button>
        )}
      </div>
      <p class="meta" aria-live="polite">
        {data.total} {data.total === 1 ? "query" : "queries"}
        {isLoading && ", loading…"}
      </p>
      {data.queries.map((each) => (
        <Query key={each.example} run={run} page={data} query={each} />
      ))}
      {data.total > pageSize && (
        <p class="pager">
          <button
            type="button"
            disabled={offset === 0}
            onClick={() => set({ offset: String(Math.max(0, offset - pageSize)) })}
          >
            Before
          </button>
          {offset + 1}–{Math.min(data.total, offset + pageSize)} of {data.total}
          <button
            type="button"
            disabled={offset + pageSize >= data.total}
            onClick={() => set({ offset: String(offset + pageSize) })}
          >
            Next
          </button>
        </p>
      )}
    </>
  );
}

function Verdict({ data }: { data: ComparisonPage }) {
  const { difference, means, metric } = data;
  return (
    <section class="status" aria-label="In all">
      <dl class="figures">
        {policies
          .filter((name) => means[name] !== undefined)
          .map((name) => (
            <div key={name} class={name}>
              <dt>
                {policyTitles[name]}, {metric}
              </dt>
              <dd>{formatNumber(means[name])}</dd>
            </div>
          ))}
        {difference && (
          <div>
            <dt>Difference, 95 % interval</dt>
            <dd>
              {formatSigned(difference.mean)}{" "}
              <small>
                {formatSigned(difference.low)} to {formatSigned(difference.high)}
              </small>
            </dd>
          </div>
        )}
      </dl>
    </section>
  );
}

function Query({ run, page, query }: { run: string; page: ComparisonPage; query: ComparedQuery }) {
  const { gain, text, answers, reasons, relevant } = query;
  const sign = gain === null || Math.abs(gain) < 1e-9 ? "equal" : gain > 0 ? "better" : "worse";
  return (
    <article class={`compared ${sign}`} aria-label={text ?? query.example}>
      <header>
        <h2>{text ?? query.example}</h2>
        <span class="gain" title={`${page.metric}: tuned − ${page.baseline}`}>
          {formatSigned(gain)}
        </span>
      </header>
      <Wanted items={relevant} />
      {reasons.length > 0 && (
        <ul class="reasons" aria-label="What may have made it worse">
          {reasons.map((reason) => (
            <li key={reason}>{reason}</li>
          ))}
        </ul>
      )}
      <div class="columns">
        {policies.map((name) => {
          const answer = answers[name];
          return (
            <section key={name} aria-label={policyTitles[name]} class={`answer ${name}`}>
              <h3>
                {policyTitles[name]} <b>{answer ? formatNumber(answer.score) : ""}</b>
              </h3>
              {answer ? (
                <>
                  <p class="query">{answer.query ?? <em>no query could be read</em>}</p>
                  <Hits hits={answer.hits} label={`Found by ${policyTitles[name].toLowerCase()}`} />
                  {answer.query !== null && (
                    <Credit run={run} split={page.split} example={query.example} query={answer.query} />
                  )}
                </>
              ) : (
                <p class="none">Not evaluated</p>
              )}
            </section>
          );
        })}
      </div>
    </article>
  );
}

/** What each word of a query brings, on demand: it asks the recommender once for every word. */
function Credit(asked: { run: string; split: string; example: string; query: string }) {
  const { run, split, example, query } = asked;
  const [credit, setCredit] = useState<TermCredit | Error | "loading" | undefined>(undefined);
  if (credit === undefined) {
    return (
      <button
        type="button"
        class="quiet"
        onClick={() => {
          setCredit("loading");
          api.credit(run, split, example, query).then(setCredit, setCredit);
        }}
      >
        Credit by term
      </button>
    );
  }
  if (credit === "loading") return <p class="loading">Searching without each word…</p>;
  if (credit instanceof Error) return <Failure error={credit} onRetry={() => setCredit(undefined)} />;
  return (
    <table class="credit">
      <caption>
        What {credit.metric} ({formatNumber(credit.score)}) loses without each word
      </caption>
      <tbody>
        {credit.terms.map(({ term, start, credit: brings }) => (
          <tr key={start}>
            <th scope="row">{term}</th>
            <td>{formatSigned(brings)}</td>
            <td>
              <meter
                class={brings < 0 ? "harm" : ""}
                min={0}
                max={1}
                value={Math.min(1, Math.abs(brings))}
                aria-label={`${term}: ${formatSigned(brings)}`}
              />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
