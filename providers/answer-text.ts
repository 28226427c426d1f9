/**
 * A provider's own words, made fit for the log and for admins: short, one line, and without anything secret.
 */

const longest = 300;

/** What credentials look like, by their beginnings: GitHub's, JWTs, Google's, AWS's. */
const known = /\b(?:gh[a-z]_|github_pat_|eyJ|ya29\.|AKIA|ASIA)[\w.~+/=-]*/g;
/** What random text looks like: long, with lower case, upper case and digits in it. */
const randomLooking = /(?=[\w+/=~-]*[a-z])(?=[\w+/=~-]*[A-Z])(?=[\w+/=~-]*[0-9])[\w+/=~-]{32,}/g;

/**
 * @param said what the provider wrote, if it is text at all
 * @returns null when it said nothing
 */
export function answerText(said: unknown): string | null {
  if (typeof said !== 'string') return null;
  const text = said
    .slice(0, 4_000)
    .replace(known, '[redacted]')
    .replace(randomLooking, '[redacted]')
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim();
  if (text === '') return null;
  return text.length <= longest ? text : `${text.slice(0, longest - 1)}…`;
}
