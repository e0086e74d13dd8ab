// Adds up the time that onnxruntime spends in each of the engine's graphs: what is left of a step is TypeScript.
import { Session } from "../../dist/graph/session.js";

/** Starts measuring; `take()` returns the seconds by graph since the last call. */
export function timeGraphs() {
  const { run } = Session.prototype;
  let seconds = {};
  Session.prototype.run = async function (...args) {
    const start = performance.now();
    try {
      return await run.apply(this, args);
    } finally {
      const name = this.name.split(" ")[0];
      seconds[name] = (seconds[name] ?? 0) + (performance.now() - start) / 1000;
    }
  };
  return {
    take() {
      const taken = seconds;
      seconds = {};
      return taken;
    },
    stop() {
      Session.prototype.run = run;
    },
  };
}
