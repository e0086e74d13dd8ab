/** What the service counts, in the text format that Prometheus reads. */
import type { Registry } from "prom-client";
import type { GateFigures, RewriteGate } from "../../eval/rewrite-gate.ts";
import type { SearchAnswer, ShadowComparison } from "./search-service.ts";

/** In seconds: a search takes milliseconds, a model on a CPU up to seconds. */
const secondsBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10];

export interface ServeMetrics {
  readonly contentType: string;
  text(): Promise<string>;
  request(route: string, status: number, seconds: number): void;
  answer(answer: Pick<SearchAnswer, "source" | "reason" | "cached">): void;
  batch(size: number, milliseconds: number): void;
  shadow(comparison: ShadowComparison): void;
  failure(part: string): void;
}

/**
 * Makes the metrics; the library loads on the first call.
 * @param watch read when the figures are asked for
 */
export async function makeMetrics(
  watch: { waiting: () => number; inFlight: () => number },
  gate: RewriteGate | undefined,
): Promise<ServeMetrics> {
  const { Counter, Gauge, Histogram, Registry: Registries } = await import("prom-client");
  const registry: Registry = new Registries();
  const registers = [registry];
  const requests = new Counter({
    name: "rec_r1_requests_total",
    help: "Requests by route and status.",
    labelNames: ["route", "status"],
    registers,
  });
  const seconds = new Histogram({
    name: "rec_r1_request_seconds",
    help: "Time to answer, by route.",
    labelNames: ["route"],
    buckets: secondsBuckets,
    registers,
  });
  const answers = new Counter({
    name: "rec_r1_answers_total",
    help: "Searches by whose query answered them (tuned, raw) and why it was not the policy's.",
    labelNames: ["source", "reason"],
    registers,
  });
  const rewrites = new Counter({
    name: "rec_r1_rewrites_total",
    help: "Rewrites that searches got in time, by whether they were remembered.",
    labelNames: ["cached"],
    registers,
  });
  const batchSize = new Histogram({
    name: "rec_r1_batch_size",
    help: "Requests that the model answered in one call.",
    buckets: [1, 2, 4, 8, 16, 32, 64],
    registers,
  });
  const batchSeconds = new Histogram({
    name: "rec_r1_batch_seconds",
    help: "Time of one call of the model.",
    buckets: secondsBuckets,
    registers,
  });
  const overlap = new Histogram({
    name: "rec_r1_shadow_overlap",
    help: "Shadow mode: share of the first ten hits that both queries found.",
    buckets: [0, 0.2, 0.4, 0.6, 0.8, 1],
    registers,
  });
  const shadows = new Counter({
    name: "rec_r1_shadow_total",
    help: "Shadow mode: searches by what would have answered them, and why not the policy.",
    labelNames: ["source", "reason"],
    registers,
  });
  const failures = new Counter({
    name: "rec_r1_failures_total",
    help: "Failures of the model, the search or the task, answered or not.",
    labelNames: ["part"],
    registers,
  });
  const gauge = (name: string, help: string, read: () => number): unknown =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge("rec_r1_waiting", "Requests that wait for the model.", watch.waiting);
  gauge("rec_r1_in_flight", "Requests that are being answered.", watch.inFlight);
  if (gate) {
    const validation = new Gauge({
      name: "rec_r1_gate_validation",
      help: "What rewriting did to the validation queries: always, and with the gate on those it was not fitted to.",
      labelNames: ["system", "figure"],
      registers,
    });
    for (const system of ["always", "gated"] as const) {
      const figures: GateFigures = gate.measured[system];
      for (const [figure, value] of Object.entries(figures)) validation.set({ system, figure }, value as number);
    }
  }
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    request: (route, status, took) => {
      requests.inc({ route, status });
      seconds.observe({ route }, took);
    },
    answer: ({ source, reason, cached }) => {
      answers.inc({ source, reason: reason ?? "" });
      if (cached !== undefined) rewrites.inc({ cached: String(cached) });
    },
    batch: (size, milliseconds) => {
      batchSize.observe(size);
      batchSeconds.observe(milliseconds / 1000);
    },
    shadow: (comparison) => {
      overlap.observe(comparison.overlap);
      shadows.inc({ source: comparison.source, reason: comparison.reason ?? "" });
    },
    failure: (part) => failures.inc({ part }),
  };
}
