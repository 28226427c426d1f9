/**
 * Makes foreign text safe to read: nothing invisible, nothing that reorders the text around it, limited
 * length. Preact escapes it.
 */
import { duration } from '../core/duration.ts';

// Controls, format characters (bidi overrides, zero-width), line separators, lone surrogates, private use,
// and what renders as nothing.
const unseen = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Default_Ignorable_Code_Point}]/gu;

/**
 * Writes every character that a reader could not see, or that would change how others are shown, as
 * `⟨U+202E⟩`.
 * @param keep characters to leave as they are: line breaks where the layout keeps them
 */
export function visible(text: string, keep = ''): string {
  return text.replace(unseen, (found) => {
    if (keep.includes(found)) return found;
    return `⟨U+${found.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}⟩`;
  });
}

/** At most `max` characters (code points), and how many were left out. */
export function clamp(text: string, max: number): { text: string; left: number } {
  const points = [...text];
  return { text: points.slice(0, max).join(''), left: Math.max(0, points.length - max) };
}

export { duration };

/** `21 Nov 14:05:09 UTC`: always UTC, because the reader's time zone is unknown without script. */
export function moment(at: Date): string {
  const [, day, month, , time] = at.toUTCString().split(' ');
  return `${day} ${month} ${time} UTC`;
}

/** `21 Nov 2026 14:05 UTC`: of what may be years ago. */
export function dated(at: Date): string {
  const [, day, month, year, time] = at.toUTCString().split(' ');
  return `${day} ${month} ${year} ${time!.slice(0, 5)} UTC`;
}

/** `4 min ago`, `just now`. */
export function ago(at: Date, now: Date): string {
  const seconds = (now.getTime() - at.getTime()) / 1000;
  if (seconds < 5) return 'just now';
  return `${duration(seconds < 3600 ? seconds : Math.round(seconds / 60) * 60)} ago`;
}

/** A JSON value for reading: members in order, two spaces, invisible characters shown. */
export function prettyJson(value: unknown): string {
  return visible(JSON.stringify(value, null, 2), '\n');
}

/** A person without the `user:` that says so. */
export function bare(person: string): string {
  return person.startsWith('user:') ? person.slice('user:'.length) : person;
}
