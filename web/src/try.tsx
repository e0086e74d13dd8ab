/** Try it: what each policy writes for a text, and what the recommender finds for that. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { TryEvent } from "../../src/server/dashboard/wire.ts";
import { api } from "./api.ts";
import { policyTitles } from "./compare.tsx";
import { Failure, Hits } from "./hits.tsx";

type Answer = Extract<TryEvent, { kind: "answer" }>;

interface Trial {
  run: string;
  answers: Answer[];
  /** What is being done. */
  status: string | undefined;
  /** Why there is no tuned answer, as far as it was said. */
  note: string | undefined;
  error: Error | undefined;
}

export function TryView({ runs }: { runs: readonly string[] }) {
  const [text, setText] = useState("");
  const [trials, setTrials] = useState<Trial[]>([]);
  const [isBusy, setBusy] = useState(false);
  const controller = useRef<AbortController | null>(null);
  useEffect(() => () => controller.current?.abort(), []);

  const ask = async (): Promise<void> => {
    controller.current?.abort();
    const mine = (controller.current = new AbortController());
    setBusy(true);
    setTrials(runs.map((run) => ({ run, answers: [], status: "Waiting", note: undefined, error: undefined })));
    const change = (run: string, next: (trial: Trial) => Trial): void =>
      setTrials((all) => all.map((trial) => (trial.run === run ? next(trial) : trial)));
    for (const run of runs) {
      try {
        for await (const event of api.try(run, text, mine.signal)) {
          if (event.kind === "status") change(run, (trial) => ({ ...trial, status: event.message }));
          if (event.kind === "answer") change(run, (trial) => ({ ...trial, answers: [...trial.answers, event] }));
          if (event.kind === "error") throw new Error(event.message);
        }
        change(run, (trial) => {
          const isWhole = trial.answers.some(({ policy }) => policy === "tuned");
          return { ...trial, status: undefined, note: isWhole ? undefined : trial.status };
        });
      } catch (error) {
        if (mine.signal.aborted) return;
        change(run, (trial) => ({ ...trial, status: undefined, error: error as Error }));
      }
    }
    setBusy(false);
  };

  return (
    <>
      <form
        class="try"
        onSubmit={(event) => {
          event.preventDefault();
          if (text.trim() !== "") void ask();
        }}
      >
        <label for="find">What would a user type?</label>
        <div>
          <input
            id="find"
            type="search"
            maxLength={2000}
            value={text}
            autocomplete="off"
            onInput={(event) => setText(event.currentTarget.value)}
          />
          <button type="submit" class="primary" disabled={text.trim() === "" || isBusy}>
            {isBusy ? "Asking…" : "Ask"}
          </button>
        </div>
        <p class="hint">The first question loads the run's model and its recommender, which can take a while.</p>
      </form>
      {trials.map(({ run, answers, status, note, error }) => (
        <section key={run} class="trial" aria-label={`Answers of ${run}`}>
          {trials.length > 1 && <h2>{run}</h2>}
          <p class="meta" aria-live="polite">
            {status ? `${status}…` : note && `${note}.`}
          </p>
          <div class="columns">
            {answers.map(({ policy, step, query, completion, hits, seconds }) => (
              <section key={policy} class={`answer ${policy}`} aria-label={policyTitles[policy]}>
                <h3>
                  {policyTitles[policy]} {policy === "tuned" && <small>step {step}</small>}
                </h3>
                <p class="query">{query ?? <em>no query could be read</em>}</p>
                {completion !== null && completion !== query && (
                  <p class="completion">{completion || <em>empty</em>}</p>
                )}
                <Hits hits={hits} limit={10} label={`Found by ${policyTitles[policy].toLowerCase()}`} />
                <p class="meta">{seconds.toFixed(2)} s</p>
              </section>
            ))}
          </div>
          {error && <Failure error={error} onRetry={() => void ask()} />}
        </section>
      ))}
    </>
  );
}
