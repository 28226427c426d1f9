/** What the package throws. No message or member of these ever holds a token or a credential. */

/**
 * Codes of this package's own; all others are the broker's, each with a page under `<broker>/errors/<code>`.
 */
export type ClientErrorCode =
  /** The broker could not be reached, or did not answer in time. */
  | 'network'
  /** The answer is not one this package understands. */
  | 'bad_answer'
  /** The broker's address is plain http and not on this machine, or not an address. */
  | 'insecure_url'
  /** There is no platform token to open a session with. */
  | 'no_identity'
  /**
   * The credential was minted, but the answer that carried it never arrived; it is delivered once. Ask for a
   * new grant.
   */
  | 'credential_lost'
  /**
   * The credential should have come sealed and did not, or cannot be opened. It must be taken as seen by
   * others.
   */
  | 'not_sealed'
  /** The credential is of another provider than the caller said. */
  | 'wrong_credential'
  /** Nobody decided within `waitSeconds`. */
  | 'approval_timeout'
  /** A person must decide, and the session sleeps until then (`WritNeedsApproval`). */
  | 'needs_approval'
  /** The provider did not mint the credential. */
  | 'grant_failed';

/** The broker's codes that an agent meets most. The list is open: a newer broker may have more. */
export type BrokerErrorCode =
  | 'bad_request'
  | 'unauthenticated'
  | 'invalid_dpop_proof'
  | 'session_ended'
  | 'denied'
  | 'not_found'
  | 'conflict'
  | 'already_redeemed'
  | 'grant_failed'
  | 'not_approved'
  | 'idempotency_mismatch'
  | 'rate_limited'
  | 'provider_refused'
  | 'provider_unavailable'
  | 'unavailable'
  | 'internal'
  | 'invalid_request'
  | 'invalid_client'
  | 'invalid_grant'
  | 'invalid_authorization_details';

export type WritErrorCode = ClientErrorCode | BrokerErrorCode | (string & {});

/** The broker's problem document (RFC 9457), as it came. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  code?: string;
  detail?: string;
  request_id?: string;
  retry_after_seconds?: number;
  /** Faults of the request, each with the path of its field. */
  errors?: { path: string; message: string }[];
  [extension: string]: unknown;
}

export interface WritErrorOptions {
  status?: number;
  problem?: Problem;
  retryAfterSeconds?: number;
  grantId?: string;
  /** Instead of the words that the reasons give. */
  message?: string;
  /** What followed from the denial of a tool call. */
  effect?: string;
  cause?: unknown;
}

/**
 * Everything that goes wrong.
 *
 * @example
 * try { await session.grant('read-customer-files'); }
 * catch (error) { if (error instanceof WritError && error.code === 'session_ended') … }
 */
export class WritError extends Error {
  readonly code: WritErrorCode;
  /** HTTP status; undefined when there was no answer. */
  readonly status: number | undefined;
  /** For the broker's operator: finds the request in the log. */
  readonly requestId: string | undefined;
  readonly problem: Problem | undefined;
  readonly retryAfterSeconds: number | undefined;
  /** The grant this is about, when there is one on record. */
  readonly grantId: string | undefined;

  constructor(code: WritErrorCode, message: string, options: WritErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'WritError';
    this.code = code;
    this.status = options.status;
    this.requestId = options.problem?.request_id;
    this.problem = options.problem;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.grantId = options.grantId;
  }
}

/** One reason of a decision. `code` is stable; `advice` says what would pass. */
export interface DenialReason {
  code: string;
  policy_id?: string;
  path?: string;
  advice?: string;
}

/** A request that policy alone would allow. */
export interface NearestRequest {
  capability: string;
  params: { [name: string]: unknown };
  ttl_seconds: number;
}

/**
 * The grant was denied, by policy or by a person; or a tool call was.
 *
 * @example
 * if (error instanceof WritDenied && error.nearest) {
 *   const { capability, params, ttl_seconds } = error.nearest;
 *   return session.grant(capability, params, { ttlSeconds: ttl_seconds });
 * }
 */
export class WritDenied extends WritError {
  readonly reasons: readonly DenialReason[];
  readonly nearest: NearestRequest | undefined;
  /** Of a tool call: `deny`, `approve` (nobody agreed), `suspend`, `downgrade`, `terminate`. */
  readonly effect: string | undefined;

  constructor(reasons: readonly DenialReason[], nearest: NearestRequest | undefined, options: WritErrorOptions = {}) {
    // Several rules may give the same advice.
    const why = [...new Set(reasons.map((reason) => reason.advice ?? reason.code))].join(' ');
    super('denied', options.message ?? `The grant was denied${why === '' ? '' : `: ${why}`}`, options);
    this.name = 'WritDenied';
    this.reasons = reasons;
    this.nearest = nearest;
    this.effect = options.effect;
  }
}

/** Everything to go on with once a person has decided, in another process if need be. Holds no secret key. */
export interface Resumption {
  /** `resume` of `Writ.resumeSession`. Names the session; of use to the same workload alone. */
  resume: string;
  grantId: string;
  /** Where an approver signs in and decides. */
  approvalUrl: string;
  /** Undecided by then it is denied, and the session ends. */
  until: Date;
}

/**
 * A person must decide, and nobody waits: the session sleeps. Keep `resumption`, end the process, and come
 * back after hours or days.
 *
 * @example
 * const session = await Writ.resumeSession({ url, subjectToken, resume: kept.resume });
 * const grant = await session.collect(kept.grantId, { waitSeconds: 0 });
 */
export class WritNeedsApproval extends WritError {
  readonly resumption: Resumption;

  constructor(resumption: Resumption) {
    super('needs_approval', `A person must decide: ${resumption.approvalUrl}`, { grantId: resumption.grantId });
    this.name = 'WritNeedsApproval';
    this.resumption = resumption;
  }
}
