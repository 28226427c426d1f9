/** The passkeys that sign a break-glass: asked for, taken, looked at again when it would give something. */
import { WritError } from '../core/errors.ts';
import { evidenceBinds } from '../core/passkey-evidence.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import type { Identity } from '../people/identity.ts';
import { beginAssertion, finishAssertion, readAssertion } from '../people/passkeys/assertion.ts';
import type { PasskeyDeps } from '../people/passkeys/relying-party.ts';
import { agreeDigest, askDigest } from './digest.ts';
import type { StoredBreakGlass } from './stored-break-glass.ts';

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

const signedFor = ({ identity, loginId, about, digest }: ToSign) => ({
  identity,
  loginId,
  about,
  digest,
  purpose: 'break_glass' as const,
});

/**
 * @returns what the browser needs for it
 * @throws WritError `conflict`: the person has no passkey
 */
export const toBeSigned = (deps: PasskeyDeps, toSign: ToSign) => beginAssertion(deps, signedFor(toSign));

/**
 * Takes an assertion, once.
 * @param assertion what the browser sent, as text
 * @returns whose passkey signed, and what it signed
 * @throws WritError `forbidden` where it is not this person's, for something else, too old, or taken already
 */
export async function takeSigned(
  deps: PasskeyDeps,
  toSign: ToSign,
  assertion: unknown,
  requestId: string | null,
): Promise<{ passkey: string; evidence: JsonObject }> {
  const signed = readAssertion(assertion);
  if (signed === null)
    throw new WritError('forbidden', { detail: 'It takes a passkey, and nothing came that one has signed.' });
  const evidence = await finishAssertion(deps, signedFor(toSign), signed, requestId);
  return { passkey: evidence.passkey_id, evidence: evidence as unknown as JsonObject };
}

/** Whether both passkeys signed for what the row says, each of the person whom it names. */
export function isSigned(row: StoredBreakGlass): boolean {
  const { requester, requester_evidence, approver, approver_evidence } = row;
  if (approver === null || approver_evidence === null) return false;
  const binds = (evidence: JsonObject, whose: JsonObject, about: string, digest: string) => {
    const { issuer, subject } = whose as unknown as Identity;
    return evidenceBinds(evidence, { purpose: 'break_glass', about, digest, person: { issuer, subject } });
  };
  return (
    row.digest === askDigest(row) &&
    binds(requester_evidence, requester, row.session_id ?? row.agent, row.digest) &&
    binds(approver_evidence, approver, row.id, agreeDigest(row))
  );
}
