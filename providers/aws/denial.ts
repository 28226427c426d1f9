/**
 * The one inline policy that holds a role's denials. Written whole from the outstanding leases, never merged.
 * Pure.
 *
 * Each lease is denied by name. All inline policies of a role share 10,240 characters; when the names do not
 * fit, the oldest leases are denied together by `aws:TokenIssueTime`, which also ends every other session of
 * the role issued before that moment. The cut is therefore the earliest that makes the rest fit, it appears
 * in the evidence of every lease of the role, and it goes away with the leases it stands for.
 */
import { isDeepStrictEqual } from 'node:util';
import type { JsonObject, RevocationTarget } from '../contract.ts';
import type { AwsHandle } from './issue.ts';

export const denialPolicyName = 'writ-revocations';

export interface Denial {
  /** null = nothing to deny: the policy is deleted. */
  text: string | null;
  /** Everything issued before is denied; null while all names fit. */
  cutOff: Date | null;
}

/** How long after its intent a mint whose answer was lost may still have happened, in ms. */
const longestMintMs = 120_000;

/**
 * Denies all of `outstanding` in at most `capacity` characters; null when not even one cut-off fits.
 * @param now the later of AWS's time and ours
 */
export function denialFor(outstanding: RevocationTarget[], now: Date, capacity: number): Denial | null {
  if (outstanding.length === 0) return { text: null, cutOff: null };
  const oldestFirst = [...outstanding].sort((a, b) => issuedBefore(a, now) - issuedBefore(b, now) || compareIds(a, b));
  const attempt = (cut: number): Denial => {
    const last = oldestFirst[cut - 1];
    const cutOff = last === undefined ? null : new Date(issuedBefore(last, now));
    return { text: document(oldestFirst.slice(cut), cutOff), cutOff };
  };
  const fits = (cut: number) => (attempt(cut).text?.length ?? 0) <= capacity;
  if (fits(0)) return attempt(0);
  if (!fits(oldestFirst.length)) return null;
  let [tooFew, enough] = [0, oldestFirst.length];
  while (enough - tooFew > 1) {
    const middle = Math.floor((tooFew + enough) / 2);
    if (fits(middle)) enough = middle;
    else tooFew = middle;
  }
  return attempt(enough);
}

/**
 * Is this lease denied by the document, as read from IAM?
 * @param now the later of AWS's time and ours
 */
export function denies(text: string | undefined, target: RevocationTarget, now: Date): boolean {
  if (text === undefined) return false;
  const deny = deniedBy(text);
  if (deny === null) return false;
  const keys = keysOf(target);
  const byName =
    (!keys.includes('source_identity') || deny.sourceIdentities.includes(target.leaseId)) &&
    (!keys.includes('userid') || deny.userIds.includes(userIdOf(target)));
  return byName || (deny.cutOff !== null && deny.cutOff.getTime() >= issuedBefore(target, now));
}

/**
 * A session's `aws:userid` is the role's id, a colon and the session's name, which is the lease's id (IAM
 * user guide, "policy variables"). The name is written whole, and the one wildcard ends at the only colon
 * there is: Ceph's matcher never goes back, so that `*` and the end of a name misses whatever has the end's
 * first character earlier in it.
 */
const userIdOf = (target: RevocationTarget) => `*:${target.leaseId}`;

/** Characters that one name takes at most, with its quotes and a comma. */
export const charactersPerName = (leaseIdLength: number) => leaseIdLength + '*:'.length + '"",'.length;

/** Characters of the document without names: both statements, and a cut-off if it comes to that. */
export const charactersWithoutNames = 420;

function document(named: RevocationTarget[], cutOff: Date | null): string {
  const ids = (key: AwsHandle['revoke_key'], name: (target: RevocationTarget) => string) =>
    named
      .filter((target) => keysOf(target).includes(key))
      .map(name)
      .sort();
  const statements: JsonObject[] = [];
  const sourceIdentities = ids('source_identity', (target) => target.leaseId);
  const userIds = ids('userid', userIdOf);
  if (sourceIdentities.length > 0)
    statements.push(denyWhere({ StringEquals: { 'aws:SourceIdentity': sourceIdentities } }));
  if (userIds.length > 0) statements.push(denyWhere({ StringLike: { 'aws:userid': userIds } }));
  if (cutOff !== null) statements.push(denyWhere({ DateLessThan: { 'aws:TokenIssueTime': cutOff.toISOString() } }));
  return JSON.stringify({ Version: '2012-10-17', Statement: statements });
}

/**
 * What the document denies by statements that are to the letter as we write them: somebody may have made an
 * Allow of one, or have narrowed it.
 */
function deniedBy(text: string): { sourceIdentities: string[]; userIds: string[]; cutOff: Date | null } | null {
  let read: { Statement?: unknown } | null;
  try {
    read = JSON.parse(text);
  } catch {
    return null;
  }
  const statements = Array.isArray(read?.Statement) ? read.Statement : [];
  const values = (operator: string, key: string): string[] =>
    statements.flatMap((statement: { Condition?: { [operator: string]: { [key: string]: unknown } } } | null) => {
      const listed = statement?.Condition?.[operator]?.[key];
      const ours = denyWhere({ [operator]: { [key]: listed as string[] } });
      return listed !== undefined && isDeepStrictEqual(statement, ours) ? (listed as string[]) : [];
    });
  const cutOff = values('DateLessThan', 'aws:TokenIssueTime')[0];
  return {
    sourceIdentities: values('StringEquals', 'aws:SourceIdentity'),
    userIds: values('StringLike', 'aws:userid'),
    cutOff: cutOff === undefined ? null : new Date(cutOff),
  };
}

const denyWhere = (condition: JsonObject): JsonObject => ({
  Effect: 'Deny',
  Action: '*',
  Resource: '*',
  Condition: condition,
});

/**
 * A lease is denied by what it was minted with, whatever the setting is now; by both when the mint's answer
 * was lost.
 */
function keysOf(target: RevocationTarget): AwsHandle['revoke_key'][] {
  return target.handle === null ? ['source_identity', 'userid'] : [(target.handle as AwsHandle).revoke_key];
}

/**
 * A whole second after which the session cannot have been opened, in ms. AWS counts issue times in whole
 * seconds.
 */
function issuedBefore(target: RevocationTarget, now: Date): number {
  const issued =
    target.handle === null
      ? Math.min(target.intentAt.getTime() + longestMintMs, now.getTime())
      : Date.parse((target.handle as AwsHandle).issued_at);
  return (Math.floor(issued / 1000) + 1) * 1000;
}

const compareIds = (a: RevocationTarget, b: RevocationTarget) => (a.leaseId < b.leaseId ? -1 : 1);
