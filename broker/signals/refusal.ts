/** How a refusal is said to a transmitter: the codes of RFC 8935 section 2.4, which RFC 8936 takes over. */
import type { RefusalReason } from '../core/reasons.ts';
import type { Refusal } from '../identity/refusal.ts';

export const refusalCodes = [
  'invalid_request',
  'invalid_key',
  'invalid_issuer',
  'invalid_audience',
  'authentication_failed',
] as const;

const codes: { readonly [reason in RefusalReason]?: (typeof refusalCodes)[number] } = {
  wrong_issuer: 'invalid_issuer',
  wrong_audience: 'invalid_audience',
  unknown_key: 'invalid_key',
  bad_signature: 'invalid_key',
  algorithm_not_allowed: 'invalid_key',
};

/** The description is terse: what exactly was wrong is on record. */
export function refusalOf({ reason }: Refusal): { err: (typeof refusalCodes)[number]; description: string } {
  return { err: codes[reason] ?? 'invalid_request', description: `The token was not accepted: ${reason}.` };
}
