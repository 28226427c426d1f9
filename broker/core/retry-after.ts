/** How long another side wants to be left alone, as HTTP says it (RFC 9110 section 10.2.3). */

interface Told {
  after: string | null | undefined;
  /** The answer's own `Date`, which makes seconds of a time. */
  date: string | null | undefined;
}

/** What is told beyond is a mistake, or somebody's who wants to be asked no more. */
const longestSeconds = 999_999;

/** @returns whole seconds; undefined when nothing readable was said */
export function retryAfterSeconds({ after, date }: Told): number | undefined {
  if (after == null) return undefined;
  if (/^\d{1,6}$/.test(after)) return Number(after);
  const seconds = Math.ceil((Date.parse(after) - Date.parse(date ?? '')) / 1000);
  return seconds >= 0 && seconds <= longestSeconds ? seconds : undefined;
}

/** An error that knows how long to wait. */
export class AskedToWait extends Error {
  override name = 'AskedToWait';
  readonly seconds: number;

  constructor(message: string, seconds: number) {
    super(message);
    this.seconds = seconds;
  }

  /** An error about an answer, of this kind where the answer said how long. */
  static by(message: string, told: Told): Error {
    const seconds = retryAfterSeconds(told);
    return seconds === undefined ? new Error(message) : new AskedToWait(message, seconds);
  }
}

/**
 * How long to leave the other side alone after an error: as long as it asks for, up to what is believed.
 * @param own our own pause, which is the least
 */
export const pauseAfter = (error: unknown, own: number, longestBelieved: number): number =>
  error instanceof AskedToWait ? Math.max(own, Math.min(error.seconds * 1000, longestBelieved)) : own;
