/** Spans of time on the command line. */
import { CommandError } from './broker-side.ts';

/** @throws CommandError */
export function wholeSeconds(name: string, given: string, min: number, max: number): number {
  const value = /^\d{1,5}$/.test(given) ? Number(given) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new CommandError(`--${name} must be a whole number of seconds, from ${min} to ${max}`);
}
