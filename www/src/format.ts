export const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export function megabytes(bytes: number): string {
  return bytes < 1e5 ? `${whole.format(bytes / 1e3)} kB` : `${tenths.format(bytes / 1e6)} MB`;
}

export function milliseconds(time: number): string {
  if (time >= 1000) return seconds(time);
  return time < 10 ? `${tenths.format(time)} ms` : `${whole.format(time)} ms`;
}

export function seconds(time: number): string {
  return `${tenths.format(time / 1000)} s`;
}

/** As a sentence: what comes from the library begins in lower case and has no full stop. */
export function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return first === "" || /[.!?]$/.test(first) ? first : `${first}.`;
}

export function percent(part: number): string {
  return `${part < 0.1 ? tenths.format(part * 100) : whole.format(part * 100)} %`;
}

export function count(number: number, singular: string, plural = `${singular}s`): string {
  return `${whole.format(number)} ${number === 1 ? singular : plural}`;
}

/** A name for a file, from words or from the name of another file. */
export function fileName(words: string): string {
  const plain = words.replace(/\.[A-Za-z]+$/, "").toLowerCase();
  return (
    plain
      .replaceAll(/[^\p{L}\p{N}]+/gu, "-")
      .replaceAll(/^-|-$/g, "")
      .slice(0, 60) || "picture"
  );
}
