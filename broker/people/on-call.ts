/** Who is on call: asked at the moment of a review, and kept with it as part of who reviewed. */
import { type Identifier, readRota, readUser } from '../core/identifier.ts';
import { type Identity, isProvenName } from './identity.ts';

/** Where it is written down who is on call. */
export interface OnCall {
  /**
   * `user:…` of everybody who is on call there now; none of a rota that is unknown or cannot be read. Never
   * throws.
   */
  peopleOn(rota: string): Promise<readonly string[]>;
}

/**
 * The same person, with those of the named rotas on which they are on call now. By a proven name alone, as
 * `isApprover` has it: an unverified e-mail is on no rota.
 * @param approvers `team:…`, `user:…`, `oncall:…`; without the last nothing is asked
 */
export async function asOnCall(
  onCall: OnCall | undefined,
  person: Identity,
  approvers: readonly string[],
): Promise<Identity> {
  const { onCall: _claimed, ...signedIn } = person;
  const rotas = [...new Set(approvers.flatMap((approver) => readRota(approver) ?? []))];
  if (onCall === undefined || rotas.length === 0) return signedIn;
  const people = await Promise.all(rotas.map((rota) => onCall.peopleOn(rota)));
  const mine = rotas.filter((_, index) => (people[index] as readonly string[]).some((name) => isOf(signedIn, name)));
  return mine.length === 0 ? signedIn : { ...signedIn, onCall: mine };
}

function isOf(person: Identity, name: string): boolean {
  const named = readUser(name);
  return named !== null && named.kind !== null && isProvenName(person, named as Identifier);
}
