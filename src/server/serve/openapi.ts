/** The service's OpenAPI 3.1 description, made from the schemas that its requests are checked by. */
import { z } from "zod";
import { packageVersion } from "../../core/version.ts";
import * as schemas from "./schemas.ts";

interface Operation {
  summary: string;
  request?: z.ZodType;
  reply: { schema: z.ZodType } | { type: string };
  /** Refusals besides those that every request may get. */
  refusals?: Readonly<Record<number, string>>;
}

const overloaded = "Too many requests at once; Retry-After says when to try again";

/** @param maxTopK hits that may be asked for at most */
function operationsOf(maxTopK: number): Readonly<Record<string, Operation>> {
  return {
    "post /search": {
      summary: "Hits for a text or a history, found by the policy's query or the user's own words",
      request: schemas.searchRequestOf(maxTopK),
      reply: { schema: schemas.searchReply },
      refusals: { 502: "The search engine did not answer", 503: overloaded },
    },
    "post /rewrite": {
      summary: "What the policy searches for, without the search",
      request: schemas.rewriteRequest,
      reply: { schema: schemas.rewriteReply },
      refusals: { 503: overloaded },
    },
    "post /v1/chat/completions": {
      summary: "The tuned model, in the shapes of OpenAI's API",
      request: schemas.chatRequest,
      reply: { schema: schemas.chatReply },
      refusals: { 404: "Another model was asked for", 503: overloaded },
    },
    "get /v1/models": { summary: "The model's name", reply: { schema: schemas.modelsReply } },
    "get /health": {
      summary: "Whether the service answers, and with what",
      reply: { schema: schemas.healthReply },
      refusals: { 503: "The service is stopping" },
    },
    "get /metrics": { summary: "Figures for Prometheus", reply: { type: "text/plain" } },
    "get /openapi.json": { summary: "This description", reply: { type: "application/json" } },
  };
}

/** Refusals that any request may get. */
const commonRefusals: Readonly<Record<number, string>> = {
  401: "The token is wrong or missing",
  403: "The Host or Origin header is not one that may ask",
  429: "Too many requests from one sender; Retry-After says when to try again",
};

const bodyRefusals: Readonly<Record<number, string>> = {
  400: "The body is not JSON",
  413: "The body is too large",
  415: "The body is not application/json",
  422: "A field is wrong, or the task can't read the example",
};

const toSchema = (schema: z.ZodType, io: "input" | "output"): object => {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io });
  return rest;
};

/**
 * The description as JSON.
 * @param options.withToken whether requests need a token
 */
export function describeApi({ maxTopK, withToken }: { maxTopK: number; withToken: boolean }): object {
  const errorContent = { "application/json": { schema: toSchema(schemas.errorReply, "output") } };
  const refuse = (refusals: Readonly<Record<number, string>>): object =>
    Object.fromEntries(
      Object.entries(refusals).map(([status, description]) => [status, { description, content: errorContent }]),
    );
  const paths: Record<string, Record<string, object>> = {};
  for (const [key, { summary, request, reply, refusals = {} }] of Object.entries(operationsOf(maxTopK))) {
    const [method, path] = key.split(" ") as [string, string];
    const content =
      "schema" in reply
        ? { "application/json": { schema: toSchema(reply.schema, "output") } }
        : { [reply.type]: { schema: { type: reply.type === "application/json" ? "object" : "string" } } };
    (paths[path] ??= {})[method] = {
      summary,
      operationId: path.replace(/^\//, "").replace(/\W+(\w)/g, (_, letter: string) => letter.toUpperCase()),
      ...(request
        ? { requestBody: { required: true, content: { "application/json": { schema: toSchema(request, "input") } } } }
        : {}),
      responses: {
        200: { description: "As asked", content },
        ...refuse({ ...commonRefusals, ...(request ? bodyRefusals : {}), ...refusals }),
      },
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "rec-r1 serve",
      version: packageVersion(),
      description: "A tuned query writer in front of a search engine or recommender.",
    },
    paths,
    ...(withToken
      ? {
          components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
          security: [{ token: [] }],
        }
      : {}),
  };
}
