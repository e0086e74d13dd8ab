/**
 * Builds an ONNX graph in memory and remembers, on a tape, how each value came about, so that gradients can be added
 * to the same graph. Knows nothing of models, weights or onnxruntime; a graph owns no weight, they are its inputs.
 */
import { EngineError } from "../core/errors.ts";
import { encodeModel, onnxAttributeTypes, onnxElementTypes } from "./onnx-proto.ts";

export type ElementType = keyof typeof onnxElementTypes;

/** A size: known, or named and known only when the graph runs. */
export type Dimension = number | string;

export type Attribute = number | string | readonly number[] | { float: number };

/** A tensor in the graph. Equal dimension names mean equal sizes. */
export interface Value {
  readonly graph: Graph;
  readonly name: string;
  readonly type: ElementType;
  readonly shape: readonly Dimension[];
}

/**
 * Gradient rule: from the gradients of an operation's outputs (undefined: none flows there) to those of its inputs.
 * `needed[i]` tells whether input i's is wanted; others may be left undefined.
 */
export type GradientRule = (
  operation: Operation,
  outputGradients: readonly (Value | undefined)[],
  needed: readonly boolean[],
) => (Value | undefined)[];

/** One entry of the tape. */
export interface Operation {
  readonly kind: string;
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly attributes: Readonly<Record<string, Attribute>>;
  readonly domain: string;
  /** Whether the backward pass computes the outputs again; see {@link Graph.recomputed}. */
  readonly isRecomputed: boolean;
  /** A composite operation's own rule; single operators have theirs in the table of gradients.ts. */
  readonly rule?: GradientRule;
}

export interface OutputSpec {
  type: ElementType;
  shape: readonly Dimension[];
}

/** Microsoft's operators in onnxruntime live in this domain. */
export const microsoftDomain = "com.microsoft";

export class Graph {
  readonly tape: Operation[] = [];
  private readonly nodes: { input: string[]; output: string[]; [field: string]: unknown }[] = [];
  private readonly initializers: Record<string, unknown>[] = [];
  private readonly inputs: Record<string, unknown>[] = [];
  private readonly outputs: Record<string, unknown>[] = [];
  private readonly renamed = new Map<string, string>();
  private readonly names = new Set<string>();
  private readonly constants = new Map<string, Value>();
  /** For each dimension name an input that has it, and where. */
  private readonly dimensions = new Map<string, { input: Value; axis: number; size?: Value }>();
  private counter = 0;
  private recording = true;
  private recomputing = false;

  /** Declares a graph input; `name` must be new. */
  input(name: string, type: ElementType, shape: readonly Dimension[]): Value {
    this.claimName(name);
    const value: Value = { graph: this, name, type, shape };
    this.inputs.push(valueInfo(value));
    shape.forEach((size, axis) => {
      if (typeof size === "string" && !this.dimensions.has(size)) this.dimensions.set(size, { input: value, axis });
    });
    return value;
  }

  /** `[1]` int64: the size that an input has where it names a dimension so; undefined where none does. */
  dimension(name: string): Value | undefined {
    const known = this.dimensions.get(name);
    if (!known) return undefined;
    const { input, axis } = known;
    const spec = { type: "int64", shape: [1] } as const;
    known.size ??= this.node("Shape", [input], { start: axis, end: axis + 1 }, [spec])[0] as Value;
    return known.size;
  }

  /** Makes `value`, the result of a node, an output of the graph under `name`, which must be new. */
  output(name: string, value: Value): void {
    this.claimName(name);
    if (!/^v\d+$/.test(value.name) || this.renamed.has(value.name)) {
      throw new EngineError("GRAPH_OUTPUT", `Output "${name}" must be the result of a node and be named once.`);
    }
    this.renamed.set(value.name, name);
    this.outputs.push(valueInfo({ ...value, name }));
  }

  /** A float32 constant; shape `[]` for a single number. Equal constants share one initializer. */
  constant(data: number | readonly number[], shape: readonly number[] = typeof data === "number" ? [] : [data.length]) {
    const values = Float32Array.from(typeof data === "number" ? [data] : data);
    return this.initializer("float32", shape, new Uint8Array(values.buffer));
  }

  /** A single float64 number, shape `[]`. */
  constantFloat64(value: number): Value {
    return this.initializer("float64", [], new Uint8Array(Float64Array.of(value).buffer));
  }

  /** An int64 constant; shape `[]` for a single number. */
  constantInt64(data: number | readonly number[]): Value {
    const list = typeof data === "number" ? [data] : data;
    const values = BigInt64Array.from(list, BigInt);
    return this.initializer("int64", typeof data === "number" ? [] : [list.length], new Uint8Array(values.buffer));
  }

  /** Adds one node. `inputs` may hold undefined for an optional input that is left out. */
  node(
    opType: string,
    inputs: readonly (Value | undefined)[],
    attributes: Record<string, Attribute>,
    outputs: readonly OutputSpec[],
    domain = "",
  ): Value[] {
    const values = outputs.map((spec): Value => ({ graph: this, name: `v${this.counter++}`, ...spec }));
    this.nodes.push({
      opType,
      domain,
      name: `${opType}_${this.nodes.length}`,
      input: inputs.map((value) => value?.name ?? ""),
      output: values.map((value) => value.name),
      attribute: Object.entries(attributes).map(([name, attribute]) => encodeAttribute(name, attribute)),
    });
    if (this.recording) {
      const present = inputs.filter((value): value is Value => value !== undefined);
      const isRecomputed = this.recomputing && values.every(({ type }) => type === "float32");
      this.tape.push({ kind: opType, inputs: present, outputs: values, attributes, domain, isRecomputed });
    }
    return values;
  }

  /**
   * Several nodes that count as one operation with a gradient rule of its own: for what has a cheaper gradient than
   * the chain of its parts'.
   */
  composite(kind: string, inputs: readonly Value[], build: () => Value[], rule: GradientRule): Value[] {
    const outer = this.recording;
    this.recording = false;
    const outputs = build();
    this.recording = outer;
    if (outer) this.tape.push({ kind, inputs, outputs, attributes: {}, domain: "", isRecomputed: false, rule });
    return outputs;
  }

  /**
   * Marks the operations on numbers (not those on sizes) that `build` adds as computed again for the backward pass instead
   * of being kept until then: for results that are large and cheap, such as a norm or an activation (Chen et al. 2016).
   */
  recomputed<T>(build: () => T): T {
    const outer = this.recomputing;
    this.recomputing = true;
    const result = build();
    this.recomputing = outer;
    return result;
  }

  /** How many nodes the graph has. */
  get size(): number {
    return this.nodes.length;
  }

  /** The graph as a serialized ONNX model (opset 21 and Microsoft's operators). */
  encode(name: string): Uint8Array {
    const rename = (names: string[]): string[] => names.map((value) => this.renamed.get(value) ?? value);
    const { nodes, used } = this.findUsed();
    return encodeModel({
      irVersion: 10,
      producerName: "rec-r1",
      opsetImport: [
        { domain: "", version: 21 },
        { domain: microsoftDomain, version: 1 },
      ],
      graph: {
        name,
        node: nodes.map((node) => ({ ...node, input: rename(node.input), output: rename(node.output) })),
        initializer: this.initializers.filter(({ name: constant }) => used.has(constant as string)),
        input: this.inputs,
        output: this.outputs,
      },
    });
  }

  /**
   * Nodes that an output depends on, in an order that may be run, and every name that they use: onnxruntime would run the
   * others, too.
   *
   * onnxruntime walks from the nodes that nothing reads towards the inputs, the last of them first. With these at the end
   * and the first made last, it runs the graph about as it was built; otherwise it would first compute what was built last
   * with all that this needs, and keep what the other results wait for.
   */
  private findUsed(): { nodes: Graph["nodes"]; used: ReadonlySet<string> } {
    const used = new Set(this.renamed.keys());
    const read = new Set<string>();
    const inner: Graph["nodes"] = [];
    const last: Graph["nodes"] = [];
    for (const node of this.nodes.slice().reverse()) {
      if (!node.output.some((name) => used.has(name))) continue;
      (node.output.some((name) => read.has(name)) ? inner : last).push(node);
      for (const name of node.input) used.add(name);
      for (const name of node.input) read.add(name);
    }
    return { nodes: [...inner.reverse(), ...last], used };
  }

  private initializer(type: ElementType, shape: readonly number[], rawData: Uint8Array): Value {
    const key = `${type}[${shape.join()}]${Buffer.from(rawData).toString("base64")}`;
    const known = this.constants.get(key);
    if (known) return known;
    const value: Value = { graph: this, name: `c${this.counter++}`, type, shape };
    this.initializers.push({ name: value.name, dims: shape, dataType: onnxElementTypes[type], rawData });
    this.constants.set(key, value);
    return value;
  }

  private claimName(name: string): void {
    if (this.names.has(name) || /^[vc]\d+$/.test(name)) {
      throw new EngineError("GRAPH_NAME_TAKEN", `The graph already has, or reserves, the name "${name}".`);
    }
    this.names.add(name);
  }
}

function valueInfo(value: Value): Record<string, unknown> {
  const dim = value.shape.map((size) => (typeof size === "number" ? { dimValue: size } : { dimParam: size }));
  return { name: value.name, type: { tensorType: { elemType: onnxElementTypes[value.type], shape: { dim } } } };
}

function encodeAttribute(name: string, attribute: Attribute): Record<string, unknown> {
  if (typeof attribute === "number") return { name, type: onnxAttributeTypes.int, i: attribute };
  if (typeof attribute === "string") return { name, type: onnxAttributeTypes.string, s: Buffer.from(attribute) };
  if ("float" in attribute) return { name, type: onnxAttributeTypes.float, f: attribute.float };
  return { name, type: onnxAttributeTypes.ints, ints: attribute };
}
