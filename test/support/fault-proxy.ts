/** A proxy between two programs on this machine that harms some of what passes through: by which kind of fault is drawn. */
import { createServer, request as httpRequest } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { randomStream } from "../../src/core/random.ts";

export const faultKinds = [
  "delay",
  "drop request",
  "drop reply",
  "truncate reply",
  "half reply",
  "corrupt reply",
  "corrupt request",
  "429",
  "500",
  "502",
  "503",
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface FaultProxy {
  url: string;
  /** Share of the requests that are harmed; may be changed at any time. */
  rate: number;
  /** Requests so far. */
  readonly requests: number;
  /** Faults so far, by kind. */
  readonly faults: Readonly<Partial<Record<FaultKind, number>>>;
  close(): Promise<void>;
}

/** @param kinds what may go wrong; default: all kinds */
export async function startFaultProxy(
  target: string,
  { rate, seed, kinds = faultKinds }: { rate: number; seed: number; kinds?: readonly FaultKind[] },
): Promise<FaultProxy> {
  const random = randomStream(seed, "faults");
  const faults: Partial<Record<FaultKind, number>> = {};
  let requests = 0;
  const flip = (bytes: Buffer): Buffer => {
    const harmed = Buffer.from(bytes);
    if (harmed.length > 0) harmed[random.nextInt(harmed.length)]! ^= 1 << random.nextInt(8);
    return harmed;
  };
  const server = createServer((incoming, outgoing) => {
    requests++;
    const fault = random.next() < proxy.rate ? kinds[random.nextInt(kinds.length)] : undefined;
    if (fault) faults[fault] = (faults[fault] ?? 0) + 1;
    pass(incoming, outgoing, fault).catch(() => outgoing.destroy());
  });
  const pass = async (
    incoming: IncomingMessage,
    outgoing: ServerResponse,
    fault: FaultKind | undefined,
  ): Promise<void> => {
    const sent = await readAll(incoming);
    if (fault === "drop request") return void outgoing.socket?.resetAndDestroy();
    if (fault !== undefined && /^\d+$/.test(fault)) {
      const wait = { "retry-after": random.next() < 0.1 ? "1" : "0" };
      outgoing.writeHead(Number(fault), { "content-type": "text/html", ...(fault === "429" ? wait : {}) });
      return void outgoing.end("<h1>Sorry</h1>");
    }
    if (fault === "delay") await new Promise((resolve) => setTimeout(resolve, 1 + random.nextInt(30)));
    const reply = await forward(target, incoming, fault === "corrupt request" ? flip(sent) : sent);
    const headers = { ...reply.headers, connection: "close" };
    delete (headers as Record<string, unknown>)["transfer-encoding"];
    const { body } = reply;
    if (fault === "drop reply") return void outgoing.socket?.resetAndDestroy();
    if (fault === "half reply") {
      outgoing.writeHead(reply.status, { ...headers, "content-length": String(body.length >> 1) });
      return void outgoing.end(body.subarray(0, body.length >> 1));
    }
    outgoing.writeHead(reply.status, { ...headers, "content-length": String(body.length) });
    if (fault === "truncate reply") {
      outgoing.write(body.subarray(0, body.length >> 1));
      return void setTimeout(() => outgoing.destroy(), 2);
    }
    outgoing.end(fault === "corrupt reply" ? flip(body) : body);
  };
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const proxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    rate,
    get requests() {
      return requests;
    },
    faults,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return proxy;
}

async function readAll(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function forward(
  target: string,
  { method, url, headers }: IncomingMessage,
  body: Buffer,
): Promise<{ status: number; headers: IncomingMessage["headers"]; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const { host, ...others } = headers;
    const request = httpRequest(
      `${target}${url}`,
      { method, headers: { ...others, host: new URL(target).host } },
      (reply) => {
        readAll(reply).then(
          (bytes) => resolve({ status: reply.statusCode ?? 502, headers: reply.headers, body: bytes }),
          reject,
        );
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}
