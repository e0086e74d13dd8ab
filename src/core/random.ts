/**
 * Seeded random numbers that do not depend on call order: a stream is addressed by a list of integers or strings
 * (seed, step, prompt, sample …), so a run gives the same numbers whatever the batch shape.
 */

/** A source of uniform numbers in [0, 1). */
export interface Random {
  /** Next uniform number in [0, 1), 32 bits of it. */
  next(): number;
  /** Next integer in [0, `bound`). */
  nextInt(bound: number): number;
}

/** Mixes `parts` into 128 bits (FNV-1a per lane, then a finalizer). */
function hashParts(parts: readonly (number | string)[]): [number, number, number, number] {
  let a = 0x811c9dc5;
  let b = 0x9e3779b9;
  const bytes = Buffer.from(JSON.stringify(parts), "utf8");
  for (const byte of bytes) {
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b ^ byte, 0x85ebca6b);
    b = (b << 13) | (b >>> 19);
  }
  const finalize = (x: number, salt: number): number => {
    let h = (x ^ salt) >>> 0;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h ^ (h >>> 16)) >>> 0;
  };
  return [finalize(a, 0x243f6a88), finalize(b, 0x85a308d3), finalize(a ^ b, 0x13198a2e), finalize(a + b, 0x03707344)];
}

/** Stream of random numbers addressed by `parts` (sfc32, PractRand-tested by its author, C. Doty-Humphrey). */
export function randomStream(...parts: (number | string)[]): Random {
  let [a, b, c, d] = hashParts(parts);
  const nextUint32 = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) nextUint32();
  const next = (): number => nextUint32() / 2 ** 32;
  return { next, nextInt: (bound) => Math.floor(next() * bound) };
}

/** A shuffled copy of `items` (Fisher–Yates). */
export function shuffle<T>(items: readonly T[], random: Random): T[] {
  const out = items.slice();
  for (let i = out.length - 1; i > 0; i--) {
    const j = random.nextInt(i + 1);
    [out[i], out[j]] = [out[j] as T, out[i] as T];
  }
  return out;
}

/** A standard normal number (Box–Muller; one of the pair is dropped so that each call costs two draws). */
export function nextGaussian(random: Random): number {
  const u = 1 - random.next();
  return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * random.next());
}
