/** The client against recorded sessions of two servers: it says what the official client said, and reads what it was told. */
import { describe, expect, it, onTestFinished } from "vitest";
import { TinkerClient } from "../../../src/engines/tinker/index.ts";
import { decodeForwardBackward } from "../../../src/engines/tinker/protobuf.ts";
import type { DatumWire, ForwardBackwardWire } from "../../../src/engines/tinker/wire.ts";
import { hasRecordings, readRecording, recordings, startReplay, type Exchange } from "./replay.ts";

const runsWhere = hasRecordings ? describe : describe.skip;
// Without ../shared/fixtures there is nothing to replay.

const adam = { learning_rate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0, grad_clip_norm: 0 };

async function open(name: keyof typeof recordings): Promise<{
  exchanges: Exchange[];
  client: TinkerClient;
  asked: Awaited<ReturnType<typeof startReplay>>["asked"];
}> {
  const exchanges = readRecording(recordings[name]);
  const { url, asked } = await startReplay(exchanges, name);
  const client = new TinkerClient({ url, apiKey: "tml-secret", attempts: 1 });
  onTestFinished(() => client.close());
  return { exchanges, client, asked };
}

const ofPath = (exchanges: readonly Exchange[], path: string): Exchange[] =>
  exchanges.filter((exchange) => exchange.path === `/api/v1/${path}`);

/** A body without what doesn't change its meaning: fields that are null, and what only the newer client sends. */
function essence(body: unknown, without: readonly string[] = ["type"]): unknown {
  if (Array.isArray(body)) return body.map((item) => essence(item, without));
  if (typeof body !== "object" || body === null) return body;
  const entries = Object.entries(body).filter(([key, value]) => value !== null && !without.includes(key));
  return Object.fromEntries(entries.map(([key, value]) => [key, essence(value, without)]));
}

interface RecordedDatum {
  model_input: { chunks: { tokens: number[] }[] };
  loss_fn_inputs: Record<string, { data: number[]; dtype: "float32" | "int64" }>;
}

const toWire = ({ model_input, loss_fn_inputs }: RecordedDatum): DatumWire => ({
  tokens: model_input.chunks.flatMap(({ tokens }) => tokens),
  inputs: loss_fn_inputs,
});

runsWhere("the client against SkyRL 0.3, in JSON", () => {
  it("trains, samples and saves with the bodies that the official client sent", async () => {
    const { exchanges, client, asked } = await open("json");
    expect(await client.capabilities()).toEqual([{ name: "smollm2-135m-instruct", contextLength: undefined }]);
    expect(await client.limits()).toMatchObject({ chunkData: 1024 });
    const modelId = await client.createModel({ baseModel: "smollm2-135m-instruct", loraRank: 8, seed: 1 });
    expect(modelId).toBe("model_4051461d");

    const passes = ofPath(exchanges, "forward_backward");
    expect(passes.length).toBe(3);
    for (const [i, pass] of passes.entries()) {
      const { forward_backward_input: input } = pass.request as {
        forward_backward_input: { data: RecordedDatum[]; loss_fn: string };
      };
      const request: ForwardBackwardWire = {
        modelId,
        seqId: i + 1,
        data: input.data.map(toWire),
        lossFn: input.loss_fn,
        lossFnConfig: {},
        forwardOnly: false,
      };
      const reply = await client.retrieveForwardBackward(await client.submitForwardBackward(request));
      const id = (pass.response as { request_id: string }).request_id;
      const recorded = exchanges.find(({ request }) => (request as { request_id?: string })?.request_id === id);
      const outputs = (recorded?.response as { loss_fn_outputs: { logprobs: { data: number[] } }[] }).loss_fn_outputs;
      expect(reply.outputs.map(({ logprobs }) => Array.from(logprobs as Float32Array))).toEqual(
        outputs.map(({ logprobs }) => logprobs.data),
      );
    }
    expect(client.wireForm).toBe("json");

    const metrics = await client.optimStep(modelId, 4, { ...adam, eps: 1e-12 });
    expect(metrics["skyrl.ai/learning_rate"]).toBeGreaterThan(0);
    const samplingSessionId = await client.saveWeightsForSampler(modelId, 5);
    expect(samplingSessionId).toBe("sampling_c66892ae");
    const draw = { samplingSessionId, n: 4, maxTokens: 12, temperature: 1, topP: 1, topK: 0, seed: 1, stopIds: [] };
    const { sequences } = await client.sample({ ...draw, prompt: [1, 4093, 198, 1780, 314, 260, 3575] });
    expect(sequences).toHaveLength(4);
    expect(sequences[0]).toMatchObject({
      stopReason: "length",
      tokens: [282, 14178, 30, 2, 198, 1, 520, 9531, 198, 504, 3575, 282],
    });
    expect(sequences[0]?.logprobs?.[1]).toBeCloseTo(-4.205615, 5);
    expect(await client.saveWeights(modelId, 6, "ck0")).toBe("tinker://model_4051461d/weights/ck0");

    const bodies = (path: string): unknown[] =>
      asked.filter((one) => one.path === `/api/v1/${path}`).map(({ body }) => body);
    const strip = ["type", "ttl_seconds", "overwrite", "grad_clip_norm", "top_k", "top_p"];
    expect(bodies("forward_backward").map((body) => essence(body, strip))).toEqual(
      passes.map(({ request }) => essence(request, strip)),
    );
    for (const path of ["optim_step", "save_weights_for_sampler", "save_weights"]) {
      const [recorded] = ofPath(exchanges, path);
      const ours = essence(bodies(path)[0], [...strip, "learning_rate"]);
      // The recorded client left optimizer settings at their defaults out.
      expect(ours, path).toMatchObject(essence(recorded?.request, [...strip, "learning_rate"]) as object);
    }
    expect(essence(bodies("asample")[0], strip)).toEqual(essence(ofPath(exchanges, "asample")[0]?.request, strip));
    expect(new Set(asked.map(({ key }) => key))).toEqual(new Set(["tml-secret"]));
  });
});

runsWhere("the client against SkyRL 0.4, in protobuf", () => {
  it("writes the bytes that the official client wrote, and reads the replies", async () => {
    const { exchanges, client, asked } = await open("protobuf");
    const modelId = await client.createModel({ baseModel: "smollm2-135m-instruct", loraRank: 8, seed: 1 });
    const passes = ofPath(exchanges, "forward_backward").filter(({ status }) => status === 200);
    expect(passes.length).toBeGreaterThanOrEqual(7);
    const accepted = passes.slice(0, 6);
    for (const pass of accepted) {
      const wire = decodeForwardBackward(pass.request as Buffer);
      expect(wire).toMatchObject({
        modelId,
        lossFn: pass.request_decoded?.loss_fn,
        seqId: pass.request_decoded?.seq_id,
      });
      const reply = await client.retrieveForwardBackward(await client.submitForwardBackward(wire));
      const id = (pass.response as { request_id: string }).request_id;
      const recorded = exchanges.find(({ request }) => (request as { request_id?: string })?.request_id === id);
      const [record] = (recorded?.response_decoded?.loss_fn_outputs ?? []) as {
        num_datums: number;
        fields: Record<string, { per_datum: number[][] }>;
      }[];
      expect(reply.outputs).toHaveLength(record?.num_datums as number);
      for (const field of ["logprobs", "elementwise_loss"]) {
        const found = reply.outputs.map((output) => Array.from(output[field] as Float32Array));
        expect(found).toEqual(record?.fields[field]?.per_datum.map((values) => values.map(Math.fround)));
      }
    }
    const sent = asked.filter(({ path }) => path.endsWith("/forward_backward"));
    expect(sent.every(({ contentType }) => contentType === "application/x-protobuf")).toBe(true);
    sent.forEach(({ body }, i) =>
      expect(decodeForwardBackward(body as Buffer)).toEqual(decodeForwardBackward(accepted[i]?.request as Buffer)),
    );
    expect(client.wireForm).toBe("protobuf");
  });

  it("passes on what the server refuses, with its reason", async () => {
    const { exchanges, client } = await open("protobuf");
    const refused = ofPath(exchanges, "forward_backward").findIndex(({ status }) => status === 422);
    const wire = ofPath(exchanges, "forward_backward").map(({ request }) => decodeForwardBackward(request as Buffer));
    for (const request of wire.slice(0, refused)) await client.submitForwardBackward(request);
    const attempt = client.submitForwardBackward(wire[refused] as ForwardBackwardWire);
    await expect(attempt).rejects.toMatchObject({ code: "ENGINE_REFUSED", status: 422 });
    await expect(attempt).rejects.toThrow(/Input should be 'cross_entropy', 'importance_sampling', 'ppo'/);
  });

  it("opens samplers by path, samples, and reads prompts' log-probs", async () => {
    const { exchanges, client, asked } = await open("protobuf");
    const modelId = "model_d3f74fdf";
    const samplingSessionId = await client.saveWeightsForSampler(modelId, 11);
    expect(samplingSessionId).toBe("sampling_7cff12f4");
    expect(asked.at(-1)?.body).toMatchObject({ model_path: `tinker://${modelId}/s1` });
    const draw = {
      samplingSessionId,
      prompt: [504, 3575, 282, 4649, 314],
      temperature: 0,
      topP: 1,
      topK: 0,
      seed: 1,
      stopIds: [],
    };
    const recorded = ofPath(exchanges, "asample");
    const found = [
      await client.sample({ ...draw, n: 2, maxTokens: 16 }),
      await client.sample({ ...draw, n: 2, maxTokens: 16 }),
      await client.sample({ ...draw, n: 4, maxTokens: 16, temperature: 1, topP: 0.95, seed: 7 }),
      await client.sample({ ...draw, n: 1, maxTokens: 1, temperature: 1, promptLogprobs: true }),
    ];
    found.forEach((reply, i) => {
      const id = (recorded[i]?.response as { request_id: string }).request_id;
      const answer = exchanges.find(({ request }) => (request as { request_id?: string })?.request_id === id);
      const expected = answer?.response_decoded as { sequences: { tokens: number[] }[]; prompt_logprobs: number[] };
      expect(reply.sequences.map(({ tokens }) => tokens)).toEqual(expected.sequences.map(({ tokens }) => tokens));
      expect(Array.from(reply.promptLogprobs ?? [])).toEqual(expected.prompt_logprobs.map(Math.fround));
    });
    expect(found[2]?.sequences.map(({ stopReason }) => stopReason)).toEqual(["stop", "stop", "stop", "stop"]);
    const first = asked.filter(({ path }) => path.endsWith("/asample"))[0]?.body;
    expect(essence(first)).toEqual(essence(recorded[0]?.request));
  });

  it("says where a state is kept, and why it can't be loaded into a used model", async () => {
    const { client } = await open("protobuf");
    const address = await client.saveWeights("model_d3f74fdf", 12, "c1");
    expect(address).toBe("tinker://model_d3f74fdf/weights/c1");
    const attempt = client.loadWeights("model_d3f74fdf", 13, address);
    await expect(attempt).rejects.toThrow(/LoadWeights is not permitted with seq_id 13/);
  });
});
