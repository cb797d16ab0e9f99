/**
 * What the Rust side gives, with its keys in camelCase (`timings_ms` -> `timingsMs`), all the way down. Text, typed arrays and
 * everything else that is no plain object or list stays as it is.
 */
export function camelCased<T>(value: unknown): T {
  return convert(value) as T;
}

function convert(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(convert);
  if (value === null || typeof value !== "object" || Object.getPrototypeOf(value) !== Object.prototype) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [camelCaseOf(key), convert(entry)]));
}

function camelCaseOf(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
