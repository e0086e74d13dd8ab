/** What may be wrong with a run: queries that became worse, and answers that look as if they were after the reward. */
import type { Suspect } from "../../src/server/dashboard/wire.ts";
import { api } from "./api.ts";
import { formatNumber, formatSigned } from "./format.ts";
import { Failure } from "./hits.tsx";
import { useLoaded } from "./load.ts";
import { formatRoute, type Route } from "./route.ts";

const kinds: Record<Suspect["kind"], { title: string; hint: string }> = {
  length: { title: "Grown long", hint: "at least three times as long as was usual at the start" },
  repetition: { title: "Repeated text", hint: "the same words again and again" },
  unsupported: { title: "Words from nowhere", hint: "in neither the user's words nor any title that was seen" },
  "title-copy": { title: "Copied titles", hint: "a whole title of an item, which the user did not say" },
};

/** Suspects of a kind that are shown at once. */
const openSuspects = 4;
/** Queries that became worse, shown here; Before and after has them all. */
const shownLosses = 10;

export function WarningsView({ run, route }: { run: string; route: Route }) {
  const suspects = useLoaded(run, (signal) => api.suspects(run, signal));
  const worse = useLoaded(run, (signal) =>
    api.comparison(run, { order: "loss", filter: "worse", offset: 0, limit: shownLosses }, signal),
  );
  const to = (view: Route["view"], params: Record<string, string>): string => formatRoute({ ...route, view, params });
  const { data } = suspects;
  const losses = worse.data && !("missing" in worse.data) ? worse.data : undefined;
  return (
    <>
      <section aria-labelledby="hacking">
        <h2 id="hacking">Reward-hacking suspects</h2>
        {suspects.error && <Failure error={suspects.error} onRetry={suspects.reload} />}
        {suspects.isLoading && <p class="loading">Looking through the last evaluation and the newest rollouts…</p>}
        {data && (
          <>
            <p class="meta">
              {data.examined.toLocaleString("en")} answers looked at
              {data.catalogueWords > 0
                ? `; words compared with ${data.catalogueWords.toLocaleString("en")} words of titles that were found`
                : "; titles of items are not known, so words are not compared with the catalogue"}
              . A suspicion is no proof: read a few.
            </p>
            {data.findings.map(({ kind, reason }) => (
              <p key={kind} class="finding" role="status">
                {reason}
              </p>
            ))}
            {data.findings.length + data.suspects.length === 0 && <p class="fine">Nothing suspicious.</p>}
            {(Object.keys(kinds) as Suspect["kind"][]).map((kind) => {
              const found = data.suspects.filter((suspect) => suspect.kind === kind);
              if (found.length === 0) return null;
              return (
                <section key={kind} aria-label={kinds[kind].title}>
                  <h3>
                    {kinds[kind].title} ({data.counts[kind]}) <span class="hint">{kinds[kind].hint}</span>
                  </h3>
                  <SuspectList suspects={found.slice(0, openSuspects)} to={to} />
                  {found.length > openSuspects && (
                    <details>
                      <summary>{found.length - openSuspects} more</summary>
                      <SuspectList suspects={found.slice(openSuspects)} to={to} />
                    </details>
                  )}
                </section>
              );
            })}
          </>
        )}
      </section>
      <section aria-labelledby="worse">
        <h2 id="worse">Queries that the policy made worse</h2>
        {worse.error && <Failure error={worse.error} onRetry={worse.reload} />}
        {worse.data && "missing" in worse.data && <p class="none">{worse.data.missing}</p>}
        {losses?.total === 0 && <p class="fine">None on the split {losses.split}.</p>}
        {losses && losses.total > 0 && (
          <>
            <ul class="suspects">
              {losses.queries.map((query) => (
                <li key={query.example}>
                  <p class="reason">
                    <b class="loss">{formatSigned(query.gain)}</b>{" "}
                    <a href={to("compare", { filter: "worse", of: query.example })}>{query.text ?? query.example}</a>{" "}
                    became {query.answers.tuned?.query ?? "no query"}
                  </p>
                  <p class="meta">{query.reasons.join(" ")}</p>
                </li>
              ))}
            </ul>
            <p>
              <a href={to("compare", { filter: "worse" })}>All {losses.total} in Before and after</a>
            </p>
          </>
        )}
      </section>
    </>
  );
}

function SuspectList({
  suspects,
  to,
}: {
  suspects: readonly Suspect[];
  to: (view: Route["view"], params: Record<string, string>) => string;
}) {
  return (
    <ul class="suspects">
      {suspects.map(({ reason, completion, text, where, reward }, i) => (
        <li key={i}>
          <p class="reason">{reason}</p>
          <p class="completion">{completion}</p>
          <p class="meta">
            asked: {text ?? where.example}; reward {formatNumber(reward)};{" "}
            {where.kind === "rollout" ? (
              <a href={to("rollouts", { step: String(where.step), example: where.example })}>step {where.step}</a>
            ) : (
              <a href={to("compare", { split: where.name, filter: "all", of: where.example })}>
                in the evaluation on {where.name}
              </a>
            )}
          </p>
        </li>
      ))}
    </ul>
  );
}
