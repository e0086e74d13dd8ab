/** How often somebody may ask: a bucket for each sender that holds `burst` requests and fills at a steady rate. */
import { HttpError } from "./http-error.ts";

export interface RateLimitOptions {
  /** Requests that a sender may make for good, each second. */
  perSecond: number;
  /** Requests at once after a pause. */
  burst: number;
  /** Milliseconds that only go up. Default: the process's clock. */
  now?: () => number;
}

/** Senders remembered; who has not asked for longest is forgotten first. */
const maxSenders = 10_000;

export class RateLimit {
  private readonly options: Required<RateLimitOptions>;
  private readonly buckets = new Map<string, { left: number; at: number }>();

  constructor({ perSecond, burst, now = () => performance.now() }: RateLimitOptions) {
    this.options = { perSecond, burst, now };
  }

  /** Counts a request. @throws HttpError 429 with `retry-after` */
  take(sender: string): void {
    const { perSecond, burst, now } = this.options;
    const at = now();
    const bucket = this.buckets.get(sender) ?? { left: burst, at };
    bucket.left = Math.min(burst, bucket.left + ((at - bucket.at) / 1000) * perSecond);
    bucket.at = at;
    this.buckets.delete(sender);
    this.buckets.set(sender, bucket);
    if (this.buckets.size > maxSenders) this.forgetOldest();
    if (bucket.left < 1) {
      const seconds = Math.max(1, Math.ceil((1 - bucket.left) / perSecond));
      throw new HttpError(429, "TOO_MANY_REQUESTS", `Too many requests; try again in ${seconds} s.`, {
        "retry-after": String(seconds),
      });
    }
    bucket.left -= 1;
  }

  private forgetOldest(): void {
    const [oldest] = this.buckets.keys();
    if (oldest !== undefined) this.buckets.delete(oldest);
  }
}
