/** Taking a row's fields as what they should be; what isn't becomes a reason that a report can count. */
import type { JsonObject } from "../core/data-lines.ts";

/** Thrown for a row that can't be used; `message` is the reason, free of the row's own values where they vary. */
export class RowFault extends Error {}

/** A value as an error message shows it, shortened. */
export function shown(value: unknown): string {
  const text = value === undefined ? "absent" : (JSON.stringify(value) ?? String(value));
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`;
}

/** An id: text that isn't empty, or a whole number. */
export function idOf(row: JsonObject, field: string): string {
  const value = row[field];
  if (Number.isSafeInteger(value)) return String(value);
  if (typeof value === "string" && value.trim() !== "") return value.trim();
  throw new RowFault(`"${field}" is ${kindOf(value)}; expected an id`);
}

/** Text that isn't empty. */
export function textOf(row: JsonObject, field: string): string {
  const value = row[field];
  if (typeof value === "string" && value.trim() !== "") return value;
  throw new RowFault(`"${field}" is ${kindOf(value)}; expected text`);
}

/** A finite number, also where a CSV file has it as text. */
export function numberOf(row: JsonObject, field: string): number {
  const value = row[field];
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  if (typeof number === "number" && Number.isFinite(number)) return number;
  throw new RowFault(`"${field}" is ${kindOf(value)}; expected a number`);
}

/** A list of ids; a single id is a list of one. */
export function idsOf(row: JsonObject, field: string): string[] {
  const value = row[field];
  const values: unknown[] = Array.isArray(value) ? value : [value];
  const ids = values.map((id) => (Number.isSafeInteger(id) ? String(id) : id));
  if (ids.every((id): id is string => typeof id === "string" && id.trim() !== "")) return ids;
  throw new RowFault(`"${field}" is ${kindOf(value)}; expected a list of ids`);
}

function kindOf(value: unknown): string {
  if (value === undefined || value === null) return "absent";
  if (value === "") return "empty";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list of something else";
  if (typeof value === "string") return value.trim() === "" ? "blank" : "text";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
