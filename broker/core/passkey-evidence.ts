/**
 * What is kept of a passkey's assertion: enough for anybody to verify later that this person's authenticator
 * signed for this very thing. Pure: verified for a right in `people/passkeys/`, looked at again here.
 */
import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { JsonObject } from './vocabulary.ts';

/**
 * What an assertion is for. `add` and `remove`: another passkey of the person. `register` is of a new one,
 * which signs for nothing.
 */
export const passkeyPurposes = ['register', 'add', 'remove', 'review', 'break_glass', 'sign_in'] as const;
export type PasskeyPurpose = (typeof passkeyPurposes)[number];

/** What a challenge is made of. Its digest is what the authenticator signs. */
export interface ChallengeInputs {
  /** 32 random bytes. */
  nonce: string;
  purpose: PasskeyPurpose;
  /** Id of what it is about: a grant, say. */
  about: string;
  /** Digest of what the person says yes to: of a review, the plan's. */
  digest: string;
  /** The person; null where the assertion itself says who it is. */
  issuer: string | null;
  subject: string | null;
  /** The login that asked for it: one login's challenge is none of another's. */
  login: string;
  /** ISO 8601. */
  issued_at: string;
}

/** Binary values are base64url. */
export interface PasskeyEvidence {
  passkey_id: string;
  credential_id: string;
  /** COSE key. */
  public_key: string;
  challenge: ChallengeInputs;
  authenticator_data: string;
  client_data_json: string;
  signature: string;
}

/** SHA-256 over a line that says what it is and the canonical JSON (RFC 8785) of the inputs; base64url. */
export function challengeOf(inputs: ChallengeInputs): string {
  const text = `writ-passkey-challenge/v1\n${canonicalize(inputs as unknown as JsonObject)}`;
  return createHash('sha256').update(text).digest('base64url');
}

/** What a person must have signed for. */
export interface SignedFor {
  purpose: PasskeyPurpose;
  about: string;
  digest: string;
  person: { issuer: string; subject: string };
}

const userPresent = 0x01;
const userVerified = 0x04;

/**
 * Whether the evidence is of an assertion for this. That its signature holds was found out when it was given,
 * and the row that it stands in is proven.
 */
export function evidenceBinds(evidence: unknown, { purpose, about, digest, person }: SignedFor): boolean {
  try {
    const { challenge, client_data_json, authenticator_data } = evidence as PasskeyEvidence;
    const client = JSON.parse(Buffer.from(client_data_json, 'base64url').toString()) as Record<string, unknown>;
    const flags = Buffer.from(authenticator_data, 'base64url')[32] ?? 0;
    const both = userPresent | userVerified;
    return (
      challenge.purpose === purpose &&
      challenge.about === about &&
      challenge.digest === digest &&
      challenge.issuer === person.issuer &&
      challenge.subject === person.subject &&
      client.type === 'webauthn.get' &&
      client.challenge === challengeOf(challenge) &&
      (flags & both) === both
    );
  } catch {
    return false;
  }
}
