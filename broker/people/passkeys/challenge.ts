/**
 * Challenges that no row remembers: what the authenticator signs is a digest of what it is for, and the
 * inputs come back in a token that only this broker can have made. Good for five minutes and for one use
 * (`once`).
 */
import { randomBytes } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import { type ChallengeInputs, challengeOf, type PasskeyPurpose } from '../../core/passkey-evidence.ts';
import type { Clock } from '../../core/vocabulary.ts';

export const challengeSeconds = 300;

/** What a challenge is bound to. */
export interface Bound {
  /** Null where the assertion itself says who it is. */
  person: { issuer: string; subject: string } | null;
  /** `Login.id`, or a name of the browser's where nobody is signed in yet. */
  loginId: string;
  purpose: PasskeyPurpose;
  /** Id of what it is about. */
  about: string;
  /** Digest of what the person says yes to. */
  digest: string;
}

export interface Challenge {
  inputs: ChallengeInputs;
  /** base64url. */
  challenge: string;
}

interface ChallengeDeps {
  clock: Clock;
  /** 32 bytes, the same on every process that serves. */
  passkeyKey: Uint8Array;
}

export async function makeChallenge(
  { clock, passkeyKey: key }: ChallengeDeps,
  bound: Bound,
): Promise<Challenge & { token: string }> {
  const now = clock.now();
  const inputs: ChallengeInputs = {
    nonce: randomBytes(32).toString('base64url'),
    purpose: bound.purpose,
    about: bound.about,
    digest: bound.digest,
    issuer: bound.person?.issuer ?? null,
    subject: bound.person?.subject ?? null,
    login: bound.loginId,
    issued_at: now.toISOString(),
  };
  const token = await new SignJWT({ inputs })
    .setProtectedHeader({ alg: 'HS256' })
    .setAudience('passkey-challenge')
    .setExpirationTime(Math.floor(now.getTime() / 1000) + challengeSeconds)
    .sign(key);
  return { inputs, challenge: challengeOf(inputs), token };
}

/**
 * @returns the challenge of a token of ours; `unknown_challenge`, also for one that is too old;
 *   `other_challenge` when it is bound to something else
 */
export async function readChallenge(
  { clock, passkeyKey: key }: ChallengeDeps,
  token: string,
  bound: Bound,
): Promise<Challenge | 'unknown_challenge' | 'other_challenge'> {
  const read = await jwtVerify<{ inputs: ChallengeInputs }>(token, key, {
    algorithms: ['HS256'],
    audience: 'passkey-challenge',
    currentDate: clock.now(),
    requiredClaims: ['exp', 'inputs'],
  }).catch(() => null);
  if (read === null) return 'unknown_challenge';
  const { inputs } = read.payload;
  const same =
    inputs.purpose === bound.purpose &&
    inputs.about === bound.about &&
    inputs.digest === bound.digest &&
    inputs.login === bound.loginId &&
    inputs.issuer === (bound.person?.issuer ?? null) &&
    inputs.subject === (bound.person?.subject ?? null);
  return same ? { inputs, challenge: challengeOf(inputs) } : 'other_challenge';
}
