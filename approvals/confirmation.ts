/**
 * An approval that comes faster than a person can read does not count by itself: whoever gave it is warned,
 * and confirms it. Against a hurried reader, not against a program. No row remembers the warning: what it was
 * about comes back in a token that only this broker can have made, and `once` uses it up.
 */
import { randomBytes } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import { duration } from '../broker/core/duration.ts';
import { WritError } from '../broker/core/errors.ts';
import type { Clock, Plan } from '../broker/core/vocabulary.ts';
import type { Identity } from '../broker/people/identity.ts';
import type { Bar } from './eligibility.ts';

/** How long a warning may be answered. */
const goodForSeconds = 300;

export interface ConfirmationDeps {
  clock: Clock;
  /** 32 bytes, the same on every process that serves. */
  challengeKey: Uint8Array;
  once(key: string, until: Date): Promise<boolean>;
}

/** Characters that a person reads in a second, if they hurry. */
const readPerSecond = 60;

/** How long a person needs to read these lines. */
export const leastSecondsFor = (lines: readonly string[]): number =>
  Math.min(2 + lines.join(' ').length / readPerSecond, 10);

/** How long it was on the screen, and how long a person needs to read it. */
export interface Reading {
  tookSeconds: number;
  leastSeconds: number;
  /** Where it was on the screen: `Login.id`, or what a channel has instead. */
  loginId: string;
  /** Answers the warning. */
  confirmation?: string | undefined;
}

/** What a confirmation is for: exactly this, by this person, in this login. */
export interface Confirmed {
  grantId: string;
  /** Digest of the plan on the screen, and of what would be consented to. */
  seenDigest: string;
  planDigest: string;
  reader: Identity;
  loginId: string;
}

/** It was given too fast to have been read: show the warning, and send what answers it. */
export class TooFast extends WritError {
  readonly tookSeconds: number;
  /** What would be consented to. */
  readonly plan: Plan;
  readonly confirmation: string;

  constructor(tookSeconds: number, plan: Plan, confirmation: string) {
    super('conflict', { detail: `You decided after ${duration(tookSeconds)}: faster than this can be read.` });
    this.tookSeconds = tookSeconds;
    this.plan = plan;
    this.confirmation = confirmation;
  }
}

export const isTooFast = ({ tookSeconds, leastSeconds }: Reading): boolean => tookSeconds < leastSeconds;

/** A new one for each warning. */
export const makeConfirmation = (
  { clock, challengeKey }: ConfirmationDeps,
  what: Confirmed,
  tookSeconds: number,
): Promise<string> =>
  new SignJWT({ nonce: randomBytes(24).toString('base64url'), took: tookSeconds, ...boundTo(what) })
    .setProtectedHeader({ alg: 'HS256' })
    .setAudience(audience)
    .setExpirationTime(Math.floor(clock.now().getTime() / 1000) + goodForSeconds)
    .sign(challengeKey);

/**
 * @param use uses it up; else it is only looked at
 * @returns after how many seconds it was decided, where the warning about exactly this was answered; else
 *   what is said of it
 */
export async function checkConfirmation(
  { clock, challengeKey, once }: ConfirmationDeps,
  what: Confirmed,
  confirmation: string,
  use: boolean,
): Promise<{ tookSeconds: number } | { bar: Bar }> {
  const read = await jwtVerify<{ nonce: string; took: number }>(confirmation, challengeKey, {
    algorithms: ['HS256'],
    audience,
    currentDate: clock.now(),
    requiredClaims: ['exp', 'nonce', 'took'],
  }).catch(() => null);
  if (read === null) return unconfirmed('The warning was answered too late. Read the request again.');
  const { nonce, took, ...claims } = read.payload;
  if (Object.entries(boundTo(what)).some(([name, value]) => claims[name] !== value))
    return unconfirmed('What was confirmed is not what was sent now. Read the request again.');
  const until = new Date(clock.now().getTime() + 2 * goodForSeconds * 1000);
  if (use && !(await once(`approval-confirmation:${nonce}`, until)))
    return unconfirmed('This warning has been answered before. Read the request again.');
  return { tookSeconds: took };
}

const audience = 'approval-confirmation';

const unconfirmed = (text: string): { bar: Bar } => ({ bar: { code: 'not_confirmed', text } });

const boundTo = ({ grantId, seenDigest, planDigest, reader, loginId }: Confirmed) => ({
  grant: grantId,
  seen: seenDigest,
  digest: planDigest,
  issuer: reader.issuer,
  subject: reader.subject,
  login: loginId,
});
