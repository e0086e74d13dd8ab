/**
 * Runs an encoded graph by onnxruntime-node, loaded on first use. Feeds made from typed arrays are not copied, and
 * results are written straight into the arrays given for them.
 */
import type * as Runtime from "onnxruntime-node";
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { describeFileError } from "../core/atomic-write.ts";
import { EngineError } from "../core/errors.ts";
import type { Graph } from "./graph.ts";

/** A tensor's numbers with its shape; float32, float64, int64 or int32 by the array's type. */
export interface TensorData<T extends Float32Array | Float64Array | BigInt64Array | Int32Array = Float32Array> {
  shape: readonly number[];
  data: T;
}

export type AnyTensor =
  TensorData<Float32Array> | TensorData<Float64Array> | TensorData<BigInt64Array> | TensorData<Int32Array>;

export interface SessionOptions {
  /** Threads within one operator. Default: onnxruntime's own choice (the physical cores). */
  threads?: number;
  /** Writes onnxruntime's profile to files with this prefix. */
  profilePrefix?: string;
}

type OnnxRuntime = typeof Runtime;
let runtimePromise: Promise<OnnxRuntime> | undefined;

function loadRuntime(): Promise<OnnxRuntime> {
  runtimePromise ??= import("onnxruntime-node").catch((cause: unknown) => {
    runtimePromise = undefined;
    const described = describeFileError(cause, "load", "onnxruntime-node");
    if (described !== cause) throw described;
    throw new EngineError(
      "ENGINE_NO_RUNTIME",
      `onnxruntime-node could not be loaded: ${messageOf(cause)}. It ships binaries for Linux x64 and arm64, macOS arm64 ` +
        "and Windows; run `npm install` again on this machine, or use a remote engine.",
      { cause },
    );
  });
  return runtimePromise;
}

/** A graph ready to run. */
export class Session {
  private readonly name: string;
  private readonly runtime: OnnxRuntime;
  private readonly session: InferenceSession;
  private readonly running = new Set<Promise<unknown>>();
  private closing: Promise<void> | undefined;

  private constructor(name: string, runtime: OnnxRuntime, session: InferenceSession) {
    this.name = name;
    this.runtime = runtime;
    this.session = session;
  }

  /** Compiles `graph` under `name`, which errors mention. @throws EngineError */
  static create(name: string, graph: Graph, options: SessionOptions = {}): Promise<Session> {
    return Session.compile(name, graph.encode(name), options);
  }

  /** Compiles the ONNX file at `path`, with external data beside it if it has any. @throws EngineError */
  static open(path: string, options: SessionOptions = {}): Promise<Session> {
    return Session.compile(path, path, options);
  }

  private static async compile(name: string, model: Uint8Array | string, options: SessionOptions): Promise<Session> {
    const runtime = await loadRuntime();
    try {
      const session = await runtime.InferenceSession.create(model as string, {
        graphOptimizationLevel: "basic",
        executionMode: "sequential",
        // What fails is thrown; onnxruntime needn't write it to the terminal as well.
        logSeverityLevel: 4,
        // A memory pattern is one block for a whole run: runs of ever new sizes would leave the arena in pieces.
        enableMemPattern: false,
        ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
        ...(options.profilePrefix === undefined
          ? {}
          : { enableProfiling: true, profileFilePrefix: options.profilePrefix }),
      });
      return new Session(name, runtime, session);
    } catch (cause) {
      throw new EngineError("ENGINE_GRAPH", `onnxruntime refused the graph "${name}": ${messageOf(cause)}`, { cause });
    }
  }

  /** Names of the graph's inputs, in its order. */
  get inputNames(): readonly string[] {
    return this.session.inputNames;
  }

  /** Names of the graph's outputs, in its order. */
  get outputNames(): readonly string[] {
    return this.session.outputNames;
  }

  /**
   * Runs the graph.
   * @param results arrays to write results into, by output name; outputs not named here and not in `wanted` are skipped
   * @param wanted outputs to allocate and return
   */
  async run(
    feeds: Readonly<Record<string, AnyTensor>>,
    results: Readonly<Record<string, AnyTensor>>,
    wanted: readonly string[] = [],
  ): Promise<Record<string, TensorData>> {
    if (this.closing) throw new EngineError("ENGINE_CLOSED", `The graph "${this.name}" was closed.`);
    const inputs: Record<string, OrtTensor> = {};
    for (const name of this.session.inputNames) {
      const feed = feeds[name];
      if (!feed) throw new EngineError("ENGINE_FEED", `The graph "${this.name}" needs the input "${name}".`);
      inputs[name] = this.toOrt(feed);
    }
    const fetches: Record<string, OrtTensor | null> = {};
    for (const [name, tensor] of Object.entries(results)) fetches[name] = this.toOrt(tensor);
    for (const name of wanted) fetches[name] = null;
    const run = this.session.run(inputs, fetches);
    this.running.add(run);
    try {
      const outputs = await run;
      return Object.fromEntries(
        wanted.map((name) => {
          const output = outputs[name] as OrtTensor;
          return [name, { shape: output.dims, data: output.data as Float32Array }];
        }),
      );
    } catch (cause) {
      const message = messageOf(cause);
      if (/bad_alloc|failed to allocate|out of memory/i.test(message)) {
        throw new EngineError(
          "ENGINE_MEMORY",
          `There is not enough memory for a run of the graph "${this.name}". Use smaller batches, shorter texts or a smaller model. ${message}`,
          { cause },
        );
      }
      throw new EngineError("ENGINE_RUN", `The graph "${this.name}" failed: ${message}`, { cause });
    } finally {
      this.running.delete(run);
    }
  }

  /** Ends profiling, if it was asked for, by writing its file. */
  endProfiling(): void {
    this.session.endProfiling();
  }

  /** Frees the native session, once the runs in progress have ended. */
  close(): Promise<void> {
    this.closing ??= Promise.allSettled(this.running).then(() => this.session.release());
    return this.closing;
  }

  private toOrt(tensor: AnyTensor): OrtTensor {
    const { Tensor } = this.runtime;
    if (tensor.data instanceof Float32Array) return new Tensor("float32", tensor.data, tensor.shape);
    if (tensor.data instanceof Float64Array) return new Tensor("float64", tensor.data, tensor.shape);
    if (tensor.data instanceof Int32Array) return new Tensor("int32", tensor.data, tensor.shape);
    return new Tensor("int64", tensor.data, tensor.shape);
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
