/**
 * Why a proof of identity was refused, as a closed set. The caller reads one terse sentence; the audit log keeps the reason, the log the whole story.
 */
import { type ErrorCode, WritError } from '../core/errors.ts';

export type RefusalReason =
  | 'malformed'
  | 'unknown_issuer'
  | 'unknown_client'
  | 'algorithm_not_allowed'
  | 'unknown_key'
  | 'bad_signature'
  | 'missing_claim'
  | 'bad_claim'
  | 'wrong_issuer'
  | 'wrong_audience'
  | 'expired'
  | 'not_yet_valid'
  | 'too_old'
  | 'lives_too_long'
  | 'issuer_unavailable'
  | 'no_binding'
  | 'ambiguous_binding'
  | 'unsupported_assertion_type'
  | 'wrong_method'
  | 'wrong_url'
  | 'wrong_key'
  | 'wrong_token_hash'
  | 'stale_proof';

/** Carried as `cause` of the WritError: never shown to the caller, never containing the token. */
export class Refusal extends Error {
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'Refusal';
    this.reason = reason;
  }
}

/** The answer to the caller (`detail`) and, as its cause, the reason for audit and log (`story`). */
export function refused(
  code: ErrorCode,
  reason: RefusalReason,
  detail: string,
  story: string = detail,
  cause?: unknown,
): WritError {
  return new WritError(code, { detail, cause: new Refusal(reason, story, cause) });
}

/** The reason code behind an error of this folder; null for any other error. */
export function refusalReason(error: unknown): RefusalReason | null {
  if (error instanceof Refusal) return error.reason;
  return error instanceof WritError && error.cause instanceof Refusal ? error.cause.reason : null;
}
