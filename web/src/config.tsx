/** Settings of the runs that are shown, side by side. */
import { useState } from "preact/hooks";
import { api } from "./api.ts";
import { Failure } from "./hits.tsx";
import { useLoaded } from "./load.ts";

export function ConfigView({ runs }: { runs: readonly string[] }) {
  const [onlyDifferent, setOnlyDifferent] = useState(true);
  const [find, setFind] = useState("");
  const { data, error, reload } = useLoaded(JSON.stringify(runs), (signal) => api.config(runs, signal));
  if (error) return <Failure error={error} onRetry={reload} />;
  if (!data) return <p class="loading">Loading settings…</p>;
  const isDiff = runs.length > 1 && onlyDifferent;
  const rows = data.rows.filter(
    ({ key, differs }) => (!isDiff || differs) && key.toLowerCase().includes(find.trim().toLowerCase()),
  );
  return (
    <>
      <div class="controls" role="group" aria-label="Which settings">
        {runs.length > 1 && (
          <label class="check">
            <input
              type="checkbox"
              checked={onlyDifferent}
              onChange={(event) => setOnlyDifferent(event.currentTarget.checked)}
            />
            Only what differs
          </label>
        )}
        <label>
          Find
          <input type="search" id="find" value={find} onInput={(event) => setFind(event.currentTarget.value)} />
        </label>
        {runs.length < 2 && <span class="hint">Tick further runs in the list to see what differs.</span>}
      </div>
      {rows.length === 0 ? (
        <p class="none">{isDiff ? "These runs have the same settings." : "No such setting."}</p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Table of settings">
          <table class="config">
            <thead>
              <tr>
                <th scope="col">Setting</th>
                {data.runs.map((run) => (
                  <th scope="col" key={run}>
                    {run}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map(({ key, values, differs }) => (
                <tr key={key} class={differs ? "differs" : ""}>
                  <th scope="row">{key}</th>
                  {values.map((value, i) => (
                    <td key={data.runs[i]}>{value ?? <em>unset</em>}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
