/** A run's figures on an MLflow server, over its REST API (version 2.0). */
import { basename, join, resolve } from "node:path";
import { readFile } from "node:fs/promises";
import { writeFileAtomic } from "../../core/atomic-write.ts";
import { ConfigError, RecR1Error } from "../../core/errors.ts";
import { packageVersion } from "../../core/version.ts";
import type { TrackedEnd, TrackedRun, Tracker } from "../tracker.ts";

export interface MlflowOptions {
  /** The server's address, such as `http://127.0.0.1:5000`. */
  url: string;
  /** Experiment that the run goes to, made where it doesn't exist. Default `rec-r1`. */
  experiment?: string;
  /** Where MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD, are looked up. Default `process.env`. */
  environment?: Readonly<Record<string, string | undefined>>;
  /** Time of one request, in milliseconds. Default 20,000. */
  timeoutMs?: number;
}

interface Metric {
  key: string;
  value: number;
  timestamp: number;
  step: number;
}

/** Most metrics and parameters that a request may hold, and characters of a parameter (MLflow's REST limits). */
const mostMetrics = 1000;
const mostParams = 100;
const longestParam = 500;
/** Requests that may fail one after the other before the server is given up. */
const mostFailures = 5;

/** What is kept in the run folder, so that a resumed run goes on in the same MLflow run. */
interface KeptRun {
  url: string;
  runId: string;
}

export class MlflowTracker implements Tracker {
  readonly name = "MLflow";
  private readonly base: string;
  private readonly experiment: string;
  private readonly headers: Record<string, string>;
  private readonly timeoutMs: number;
  private runId = "";
  private waiting: Metric[] = [];
  private failures = 0;

  /** @throws ConfigError `BAD_OPTION` on an address that isn't http(s), or that holds credentials */
  constructor({ url, experiment = "rec-r1", environment = process.env, timeoutMs = 20_000 }: MlflowOptions) {
    this.base = checkUrl(url);
    this.experiment = experiment;
    this.timeoutMs = timeoutMs;
    const {
      MLFLOW_TRACKING_TOKEN: token,
      MLFLOW_TRACKING_USERNAME: user,
      MLFLOW_TRACKING_PASSWORD: password,
    } = environment;
    const basic = user && password ? `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` : undefined;
    const authorization = token ? `Bearer ${token}` : basic;
    this.headers = { "content-type": "application/json", ...(authorization ? { authorization } : {}) };
  }

  async start({ runDir, config, resumedAt }: TrackedRun): Promise<void> {
    const keptPath = join(runDir, "mlflow.json");
    const kept = resumedAt === null ? undefined : await readKept(keptPath);
    if (kept?.url === this.base) {
      this.runId = kept.runId;
      await this.call("POST", "runs/update", { run_id: this.runId, status: "RUNNING" });
      return;
    }
    const { run } = (await this.call("POST", "runs/create", {
      experiment_id: await this.findExperiment(),
      run_name: basename(resolve(runDir)),
      start_time: Date.now(),
      tags: [
        { key: "mlflow.source.name", value: `rec-r1 ${packageVersion()}` },
        { key: "run_dir", value: resolve(runDir) },
      ],
    })) as { run: { info: { run_id: string } } };
    this.runId = run.info.run_id;
    await writeFileAtomic(keptPath, `${JSON.stringify({ url: this.base, runId: this.runId } satisfies KeptRun)}\n`);
    const params = Object.entries(config).map(([key, value]) => ({ key, value: String(value).slice(0, longestParam) }));
    for (let from = 0; from < params.length; from += mostParams) {
      await this.call("POST", "runs/log-batch", { run_id: this.runId, params: params.slice(from, from + mostParams) });
    }
  }

  async log(step: number, values: Readonly<Record<string, number>>): Promise<void> {
    const timestamp = Date.now();
    for (const [name, value] of Object.entries(values)) {
      // JSON has no NaN, and MLflow would refuse the whole batch.
      if (Number.isFinite(value)) this.waiting.push({ key: toMetricName(name), value, timestamp, step });
    }
    try {
      await this.send();
      this.failures = 0;
    } catch (error) {
      // What wasn't sent stays and goes along with the next figures: a server that restarts loses nothing.
      this.failures++;
      if (this.failures > mostFailures || (error as { isFinal?: boolean }).isFinal) throw error;
    }
  }

  async close(end: TrackedEnd): Promise<void> {
    await this.send();
    const status = { done: "FINISHED", stopped: "KILLED", failed: "FAILED" }[end];
    await this.call("POST", "runs/update", { run_id: this.runId, status, end_time: Date.now() });
  }

  private async send(): Promise<void> {
    while (this.waiting.length > 0) {
      const metrics = this.waiting.slice(0, mostMetrics);
      await this.call("POST", "runs/log-batch", { run_id: this.runId, metrics });
      this.waiting = this.waiting.slice(metrics.length);
    }
  }

  private async findExperiment(): Promise<string> {
    const name = encodeURIComponent(this.experiment);
    const found = (await this.call("GET", `experiments/get-by-name?experiment_name=${name}`, undefined, [404])) as {
      experiment?: { experiment_id: string };
    };
    if (found.experiment) return found.experiment.experiment_id;
    const made = (await this.call("POST", "experiments/create", { name: this.experiment })) as {
      experiment_id: string;
    };
    return made.experiment_id;
  }

  /** @throws RecR1Error `TRACKER_FAILED` with what the server said */
  private async call(method: string, path: string, body?: object, allowed: readonly number[] = []): Promise<unknown> {
    const url = `${this.base}/api/2.0/mlflow/${path}`;
    const where = `MLflow at ${this.base} (${path.split("?")[0]})`;
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, {
        method,
        headers: this.headers,
        ...(body ? { body: JSON.stringify(body) } : {}),
        redirect: "error",
        signal: AbortSignal.timeout(this.timeoutMs),
      });
      text = await response.text();
    } catch (cause) {
      throw failed(`${where} can't be reached: ${reasonOf(cause)}.`, false, cause);
    }
    if (!response.ok && !allowed.includes(response.status)) {
      // Overload and restarts pass; a refusal stays one.
      const isFinal = response.status < 500 && response.status !== 429;
      throw failed(`${where} answered ${response.status}: ${text.replace(/\s+/g, " ").slice(0, 200)}`, isFinal);
    }
    try {
      return text === "" ? {} : (JSON.parse(text) as unknown);
    } catch (cause) {
      throw failed(`${where} answered with something else than JSON. Is it an MLflow server?`, true, cause);
    }
  }
}

function failed(message: string, isFinal: boolean, cause?: unknown): RecR1Error & { isFinal: boolean } {
  return Object.assign(new RecR1Error("TRACKER_FAILED", message, { cause }), { isFinal });
}

function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? cause.message || message : message;
}

function checkUrl(url: string): string {
  let parsed: URL | undefined;
  try {
    parsed = new URL(url);
  } catch {
    parsed = undefined;
  }
  if (!parsed || !/^https?:$/.test(parsed.protocol)) {
    throw new ConfigError("BAD_OPTION", `MLflow's address is "${url}"; expected one such as http://127.0.0.1:5000.`);
  }
  if (parsed.username !== "" || parsed.password !== "") {
    throw new ConfigError(
      "BAD_OPTION",
      "MLflow's address holds credentials, which would end up in logs. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    );
  }
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, "")}`;
}

/** MLflow's names have letters, digits and `_ - . : /` and spaces: `valid/ndcg@10` becomes `valid/ndcg_10`. */
function toMetricName(name: string): string {
  return name.replace(/[^\w\-. :/]/g, "_");
}

async function readKept(path: string): Promise<KeptRun | undefined> {
  try {
    const kept = JSON.parse(await readFile(path, "utf8")) as Partial<KeptRun>;
    return typeof kept.url === "string" && typeof kept.runId === "string" ? (kept as KeptRun) : undefined;
  } catch {
    // Absent or damaged: a new MLflow run is begun.
    return undefined;
  }
}
