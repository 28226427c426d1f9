/**
 * What break-glass asks of passkeys. The composition hands it in; nothing is asked for, nor agreed to,
 * without.
 */
import type { JsonObject } from '../core/vocabulary.ts';
import type { Identity } from '../people/identity.ts';

/** What is signed, and whose passkey must sign it. */
export interface ToSign {
  identity: Identity;
  /** Of the login in which it is signed. */
  loginId: string;
  /** The agent or the session that it is asked for; the break-glass that is agreed to. */
  about: string;
  /** `sha256:…` of all that is asked for, or agreed to (`digest.ts`). */
  digest: string;
}

/** Whose passkey signed, and what it signed, so that it can be verified again later. */
export interface Signed {
  passkey: string;
  evidence: JsonObject;
}

/**
 * Takes an assertion, once.
 * @param assertion what the browser sent
 * @throws WritError `forbidden` where it is not this person's, for something else, too old, or taken already
 */
export type VerifyAssertion<Assertion> = (
  toSign: ToSign,
  assertion: Assertion,
  requestId: string | null,
) => Promise<Signed>;

/** Both halves. */
export interface BreakGlassPasskeys {
  /** @returns what the browser needs for it */
  begin(toSign: ToSign): Promise<object>;
  verify: VerifyAssertion<unknown>;
}
