/** The digest of a message's content in its `Content-Digest` header (RFC 9530): tells a body that was damaged on its way. */
import { createHash } from "node:crypto";

/** The header's value for `bytes`. */
export function contentDigest(bytes: string | Uint8Array): string {
  return `sha-256=:${createHash("sha256").update(bytes).digest("base64")}:`;
}

/** Whether `bytes` are what the header says; true where it is absent, or names no digest that is known here. */
export function matchesDigest(header: string | readonly string[] | null | undefined, bytes: Uint8Array): boolean {
  const digests = [...String(header ?? "").matchAll(/(sha-256|sha-512)=:([A-Za-z0-9+/=]+):/g)];
  return digests.every(
    ([, algorithm = "", value]) => createHash(algorithm.replace("-", "")).update(bytes).digest("base64") === value,
  );
}
