/** Secrets that a request has to bring. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** A token that can't be guessed: 32 characters, safe in addresses and headers. */
export function makeToken(): string {
  return randomBytes(24).toString("base64url");
}

/** Whether two secrets are the same, in a time that doesn't tell how far they agree. */
export function isSameSecret(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

/** The secret that headers bring: `authorization: Bearer …`, `x-api-key`, or the cookie of that name; "" for none. */
export function secretOf(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  cookieName?: string,
): string {
  const textOf = (name: string): string => (typeof headers[name] === "string" ? headers[name] : "");
  const [, bearer] = /^Bearer\s+(\S+)$/i.exec(textOf("authorization")) ?? [];
  if (bearer !== undefined) return bearer;
  if (textOf("x-api-key") !== "" || cookieName === undefined) return textOf("x-api-key");
  const cookie = textOf("cookie")
    .split(";")
    .map((part) => part.trim());
  return cookie.find((part) => part.startsWith(`${cookieName}=`))?.slice(cookieName.length + 1) ?? "";
}
