/**
 * Filters: which items may answer. A filter is a value and never text of a query language; it becomes SQL here, with
 * every name ours and every value quoted.
 */
import { ConfigError, DataError } from "../../core/errors.ts";
import type { JsonObject } from "../../core/data-lines.ts";

/** Types of fields that can be filtered by; `strings` is a list of strings, such as tags. */
export const filterTypes = ["string", "strings", "number", "boolean"] as const;
export type FilterType = (typeof filterTypes)[number];
export type FilterFields = Readonly<Record<string, FilterType>>;

/** From `min` to `max`, both included; strings compare by code points, so dates written 2024-05-31 do, too. */
export interface Range {
  min?: number | string;
  max?: number | string;
}

/** A value, a list of which one must match, or a range. */
export type Condition = string | number | boolean | readonly (string | number)[] | Range;

/** Conditions by field; all must hold. An item without the field, or with null there, never matches. */
export type Filter = Readonly<Record<string, Condition>>;

export const filterColumn = (index: number): string => `filter_${index}`;

const bad = (message: string): ConfigError => new ConfigError("CONFIG_BAD_FILTER", `lancedb: ${message}`);

/** @throws ConfigError where a type isn't known */
export function checkFilterFields(fields: FilterFields): void {
  for (const [field, type] of Object.entries(fields)) {
    if (!filterTypes.includes(type)) {
      throw bad(`filterFields: "${field}" has the type ${String(type)}; expected one of ${filterTypes.join(", ")}.`);
    }
  }
}

/** Values of a row's filter fields, in the fields' order; null where it has none. @throws DataError on another type */
export function readFilterValues(row: JsonObject, fields: FilterFields, where: string): unknown[] {
  return Object.entries(fields).map(([field, type]) => {
    const value = Object.hasOwn(row, field) ? row[field] : null;
    if (value === null) return null;
    const isRight =
      type === "strings"
        ? Array.isArray(value) && value.every((entry) => typeof entry === "string")
        : type === "number"
          ? typeof value === "number" && Number.isFinite(value)
          : typeof value === type;
    if (isRight) return value;
    throw new DataError(
      "DATA_BAD_FIELD",
      `${where}: "${field}" is ${(JSON.stringify(value) ?? String(value)).slice(0, 60)}; expected ` +
        `${type === "strings" ? "a list of strings" : `a ${type}`} or null, as filterFields says.`,
    );
  });
}

const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** A number as SQL; in words of its own where JavaScript writes an exponent. */
function literal(value: number | string): string {
  if (typeof value === "string") return quote(value);
  const text = String(value);
  return /^-?\d+(\.\d+)?$/.test(text) ? text : `CAST(${quote(text)} AS DOUBLE)`;
}

function toCondition(field: string, column: string, type: FilterType, condition: Condition): string {
  const check = (value: unknown): string => {
    const wanted = type === "strings" ? "string" : type;
    if (typeof value === wanted && (wanted !== "number" || Number.isFinite(value))) return literal(value as string);
    throw bad(`filter: "${field}" is compared with ${JSON.stringify(value) ?? String(value)}; expected a ${wanted}.`);
  };
  if (type === "boolean") {
    if (typeof condition !== "boolean") throw bad(`filter: "${field}" must be true or false.`);
    return condition ? column : `NOT ${column}`;
  }
  if (Array.isArray(condition)) {
    if (condition.length === 0) throw bad(`filter: "${field}" has an empty list, which no item can match.`);
    const values = condition.map(check).join(", ");
    return type === "strings" ? `array_has_any(${column}, make_array(${values}))` : `${column} IN (${values})`;
  }
  if (typeof condition === "object" && condition !== null) {
    const { min, max, ...rest } = condition as Range;
    const unknown = Object.keys(rest);
    if (type === "strings" || unknown.length > 0 || (min === undefined && max === undefined)) {
      throw bad(`filter: "${field}" must be a value, a list of values${type === "strings" ? "" : ", or {min, max}"}.`);
    }
    const bounds = [
      ...(min === undefined ? [] : [`${column} >= ${check(min)}`]),
      ...(max === undefined ? [] : [`${column} <= ${check(max)}`]),
    ];
    return bounds.join(" AND ");
  }
  const value = check(condition);
  return type === "strings" ? `array_has_any(${column}, make_array(${value}))` : `${column} = ${value}`;
}

/**
 * The filter as a condition of SQL over the filter columns; undefined where it lets every item through.
 * @throws ConfigError on a field that isn't one of `fields`, or a condition that doesn't go with its type
 */
export function toWhere(filter: Filter, fields: FilterFields): string | undefined {
  const names = Object.keys(fields);
  const conditions = Object.entries(filter).map(([field, condition]) => {
    const index = names.indexOf(field);
    const type = fields[field];
    if (index < 0 || type === undefined) {
      const known = names.length === 0 ? "filterFields names none" : `filterFields names ${names.join(", ")}`;
      throw bad(`filter: "${field}" can't be filtered by; ${known}.`);
    }
    return `(${toCondition(field, filterColumn(index), type, condition)})`;
  });
  return conditions.length === 0 ? undefined : conditions.join(" AND ");
}
