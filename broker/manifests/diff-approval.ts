/** Approvals under two versions of a manifest: fewer people, or people of another group, is wider. Pure. */
import type { Approval } from './approval-schema.ts';
import { type Change, change, diffNames } from './diff-change.ts';

type Said = Approval | undefined;

const peopleInWords = (quorum: number) => (quorum === 1 ? 'one person' : `${quorum} people`);

/**
 * @param what they approve, in words
 * @param wasOwners who approves where nothing is said, before and after: a new owner is told elsewhere
 */
export function diffApproval(
  path: string,
  what: string,
  wasOwners: readonly string[],
  before: Said,
  nowOwners: readonly string[],
  after: Said,
): Change[] {
  const [was, now] = [before?.quorum ?? 1, after?.quorum ?? 1];
  const groups =
    before?.from === undefined && after?.from === undefined
      ? []
      : diffNames(
          `${path}.from`,
          before?.from ?? wasOwners,
          after?.from ?? nowOwners,
          (name) => `${name} may now approve ${what}`,
          (name) => `${name} may not approve ${what} any more`,
        );
  if (was === now) return groups;
  const text = `${peopleInWords(now)} must approve ${what}; before: ${peopleInWords(was)}`;
  return [change(`${path}.quorum`, now < was ? 'widens' : 'narrows', text), ...groups];
}

/** Whether whatever `now` lets be approved, `old` did: as many at least, and nobody else. */
export function isAsStrictApproval(now: Said, old: Said): boolean {
  if ((now?.quorum ?? 1) < (old?.quorum ?? 1)) return false;
  if (
    old?.expires !== now?.expires &&
    !(old?.expires !== undefined && now?.expires !== undefined && now.expires < old.expires)
  )
    return false;
  if (now?.from === undefined || old?.from === undefined) return now?.from === old?.from;
  return now.from.every((name) => old.from!.includes(name));
}

/** How long a request waits. @param say of seconds, as a manifest writes them */
export function diffExpires(
  path: string,
  what: string,
  was: number | undefined,
  now: number | undefined,
  say: (seconds: number) => string,
): Change[] {
  if (was === now) return [];
  const words = (seconds: number | undefined) => (seconds === undefined ? 'as long as is set here' : say(seconds));
  // Which of the two is longer, where one is a setting, no manifest says.
  const verdict = was === undefined || now === undefined ? 'unknown' : now > was ? 'widens' : 'narrows';
  return [change(`${path}.expires`, verdict, `${what} waits for people ${words(now)}; before: ${words(was)}`)];
}

/** Whether an approver must show having read it. */
export function diffChallenge(path: string, what: string, was = false, now = false): Change[] {
  if (was === now) return [];
  const text = now ? `whoever approves ${what} must show having read it` : `${what} is approved without a challenge`;
  return [change(`${path}.challenge`, now ? 'narrows' : 'widens', text)];
}
