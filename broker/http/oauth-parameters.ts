/**
 * What a client sends and an endpoint does not take. RFC 6749 section 3.2 has unknown parameters ignored; one
 * that is known to OAuth or one of its extensions asks for something else than would be given, so it is
 * refused.
 */
import { z } from 'zod';
import { WritError } from '../core/errors.ts';

/** Of the registry of OAuth parameters, those that change what is given, to whom, or on whose word. */
const known: ReadonlySet<string> = new Set([
  // Other grant types and other proofs.
  'code',
  'code_verifier',
  'refresh_token',
  'username',
  'password',
  'assertion',
  'device_code',
  'auth_req_id',
  'resume',
  'claim_token',
  'rpt',
  'ticket',
  'user_code',
  // Who acts, for whom.
  'subject_token',
  'actor_token',
  'actor_token_type',
  'requested_subject',
  'requested_issuer',
  'subject_issuer',
  'id_token_hint',
  'login_hint_token',
  // What is given.
  'scope',
  'authorization_details',
  'audience',
  'resource',
  'requested_token_type',
  'claims',
  // How it is bound, sent and told.
  'dpop_jkt',
  'req_cnf',
  'client_notification_token',
  'request',
  'request_uri',
]);

/**
 * @param sent all that came, by name @param taken names that this request may have
 * @throws WritError `invalid_request` that names the first of the others
 */
export function refuseUntaken(sent: object, taken: readonly string[]): void {
  for (const name of Object.keys(sent))
    if (known.has(name) && !taken.includes(name))
      throw new WritError('invalid_request', { errors: [{ path: name, message: 'is not taken here' }] });
}

/** A proof of possession where nothing is bound or proven by one. */
export function refuseProof(dpop: string | undefined, instead: string): void {
  if (dpop !== undefined) throw new WritError('invalid_dpop_proof', { detail: `No proof is taken here: ${instead}.` });
}

/** One, or several: the parameter may be repeated (RFC 8693 section 2.1, RFC 8707 section 2). */
export const targets = z.union([z.string().max(500), z.array(z.string().max(500)).max(20)]);

/** A URL library may have written the issuer with a slash at its end. */
export const isTarget = (target: string, issuer: string) => target === issuer || target === `${issuer}/`;

const text = z.string().min(1).max(20_000);

/**
 * The form of an endpoint that is asked about one token (RFC 7009, RFC 7662).
 * @param assertion whose client assertion it may bring
 */
export const aboutToken = (assertion: string) =>
  z.looseObject({
    token: text,
    token_type_hint: z.string().max(200).optional(),
    client_id: z.string().max(320).optional(),
    client_assertion_type: z.string().max(200).optional(),
    client_assertion: text.optional().describe(assertion),
    client_secret: text.optional().describe('Nobody has one here: refused.'),
  });
