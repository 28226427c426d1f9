/**
 * Why a proof of identity was refused, as a closed set. The caller reads one short sentence; the audit row
 * has the reason, the log the details.
 */
import { type ErrorCode, WritError } from '../core/errors.ts';
import type { RefusalReason } from '../core/reasons.ts';

export type { RefusalReason };

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
