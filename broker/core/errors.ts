/**
 * Every error a caller can see, as one closed table: code → status, title, what to do. The HTTP layer turns
 * it into RFC 9457 problem documents and serves a page per code under `/errors/:code`; nothing else decides a
 * status.
 */
import { certificateFault } from './certificate-fault.ts';

export const errorTable = {
  bad_request: {
    status: 400,
    title: 'The request is not well-formed',
    help: 'The `errors` list names each field by its path. Correct them and send again.',
  },
  invalid_json: {
    status: 400,
    title: 'The body is not valid JSON',
    help: 'Send a JSON object with `Content-Type: application/json`.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'The body has a media type this endpoint does not read',
    help: 'JSON endpoints read `application/json`; the OAuth endpoints read `application/x-www-form-urlencoded`.',
  },
  body_too_large: {
    status: 413,
    title: 'The body is larger than this endpoint reads',
    help: 'Send less: the limit is 64 KiB (1 MiB for manifests).',
  },
  unauthenticated: {
    status: 401,
    title: 'No valid session token',
    help: 'Open a session with `POST /oauth/token` and send its token in `Authorization`.',
  },
  invalid_dpop_proof: {
    status: 401,
    title: 'The DPoP proof does not hold',
    help: 'Send a fresh proof for this very method, URL and token, signed with the key the session is bound to (RFC 9449).',
  },
  session_ended: {
    status: 401,
    title: 'The session has ended',
    help: 'What the session held is being revoked. Open a new session for a new task.',
  },
  session_suspended: {
    status: 403,
    title: 'The session is suspended',
    help: 'A rule of the manifest stopped it, and what it held is being revoked. Once a person lifts that, go on; `GET /v1/session` says so.',
  },
  session_asleep: {
    status: 403,
    title: 'The session is asleep',
    help: 'It holds nothing and can do nothing. Wake it with `POST /oauth/token` and `resume`; a grant may be read meanwhile.',
  },
  locked: {
    status: 403,
    title: 'An admin has locked this',
    help: '`level` says what is locked: the agent, its owner, or everything. Nothing is opened or given until another admin lifts it.',
  },
  owner_gone: {
    status: 403,
    title: 'The agent’s owner is gone',
    help: 'Nothing is opened until somebody takes the agent over: publish a manifest that names another owner, or a team.',
  },
  forbidden: {
    status: 403,
    title: 'Not allowed for this caller',
    help: 'Admin endpoints need an admin; reviews need an approver who is not a party to the request.',
  },
  denied: {
    status: 403,
    title: 'The grant was denied',
    help: '`reasons` says which rules denied it; `nearest`, when there, is a request that policy alone would allow.',
  },
  not_found: {
    status: 404,
    title: 'No such thing for this caller',
    help: 'It does not exist, or it belongs to somebody else.',
  },
  method_not_allowed: { status: 405, title: 'This address does not take that method', help: 'See `/openapi.json`.' },
  conflict: { status: 409, title: 'The state has moved on', help: 'Read it again and decide anew.' },
  already_redeemed: {
    status: 409,
    title: 'The credential was delivered before',
    help: 'A credential is delivered once. Ask for a new grant if it was lost.',
  },
  grant_failed: {
    status: 409,
    title: 'The provider did not mint the credential of this grant',
    help: 'Nothing was delivered, and nothing will be. Ask for a new grant.',
  },
  not_approved: {
    status: 409,
    title: 'The grant has not been approved',
    help: 'Wait for the approver: `GET /v1/grants/:id?wait=30`.',
  },
  precondition_failed: {
    status: 412,
    title: 'Somebody else published in between',
    help: 'Read the current version, merge, and send its `ETag` as `If-Match`.',
  },
  precondition_required: {
    status: 428,
    title: 'Say which version you are replacing',
    help: 'Send `If-Match` with the current `ETag`, or `If-None-Match: *` for a first version.',
  },
  idempotency_mismatch: {
    status: 422,
    title: 'This Idempotency-Key was used with another body',
    help: 'Use a new key for a new request.',
  },
  invalid_manifest: {
    status: 422,
    title: 'The manifest cannot be published',
    help: '`errors` gives line, column and path of each fault. The running version stays in force.',
  },
  rate_limited: { status: 429, title: 'Too many requests', help: 'Wait as long as `Retry-After` says.' },
  provider_refused: {
    status: 502,
    title: 'The provider refused to mint the credential',
    help: 'Asking again will not help until an admin changes something at the provider; `provider_code` is its own word.',
  },
  provider_unavailable: {
    status: 503,
    title: 'The provider did not answer as it should',
    help: 'Nothing was delivered. Ask again with a new Idempotency-Key after `Retry-After`.',
  },
  unavailable: {
    status: 503,
    title: 'The broker cannot serve this now',
    help: 'It fails closed while its database, keys or issuers cannot be reached. Ask again after `Retry-After`.',
  },
  internal: {
    status: 500,
    title: 'The broker failed',
    help: 'Nothing was granted. Give the operator the `request_id`.',
  },
  // AuthZEN's Access Request and Approval Profile: its own problem types come with them, as `type`.
  not_requestable: {
    status: 400,
    title: 'No person can lift this denial',
    help: 'Only a denial whose context has `access_request` can be asked about. Where policy alone allows it by now, ask for it directly.',
  },
  invalid_denial_binding: {
    status: 400,
    title: 'The access request is not what was denied',
    help: 'Send subject, action, resource and context as they were evaluated, and `binding_token` and `expires_at` as they came with the denial.',
  },
  duplicate_request: {
    status: 409,
    title: 'This Idempotency-Key was used for another access request',
    help: 'Use a new key for a new request.',
  },
  expired_denial: {
    status: 410,
    title: 'The denial is too old to be asked about',
    help: 'Evaluate again, and answer the denial that comes.',
  },
  // RFC 6749 section 5.2 and RFC 8693 section 2.2.2: the token endpoint's own words, answered as `error`.
  invalid_request: {
    status: 400,
    title: 'The token request is not well-formed',
    help: 'The `errors` list names each parameter.',
  },
  invalid_client: {
    status: 400,
    title: 'The client is not known by what it sent',
    help: 'Clients sign for themselves: see `private_key_jwt` in the trust file and RFC 7523. Nobody has a client secret. Where an `Authorization` header was sent the status is 401.',
  },
  invalid_scope: {
    status: 400,
    title: 'The session may not ask for this scope',
    help: 'A scope is the name of a capability. Leave `scope` out for all that the task allows.',
  },
  invalid_grant: {
    status: 400,
    title: 'The subject token does not hold',
    help: 'It must be a current token of a listed issuer, for this broker, bound to exactly one agent.',
  },
  authorization_pending: {
    status: 400,
    title: 'Nobody has decided yet',
    help: 'Poll again after the interval (CIBA).',
  },
  slow_down: {
    status: 400,
    title: 'Polled too often',
    help: 'Nobody has decided yet. Wait five seconds longer between polls.',
  },
  expired_token: {
    status: 400,
    title: 'Nobody decided in time',
    help: 'The request is over, and so is its session. Ask anew.',
  },
  access_denied: {
    status: 400,
    title: 'It was denied',
    help: 'By policy or by a person; `reasons` say why where they are known.',
  },
  invalid_target: {
    status: 400,
    title: 'The audience or resource is not this broker',
    help: 'Leave `audience` and `resource` out, or name this broker.',
  },
  invalid_authorization_details: {
    status: 400,
    title: 'The task cannot be declared so',
    help: '`errors` names the field: unknown task type, missing or malformed input, too wide an envelope.',
  },
  unsupported_grant_type: {
    status: 400,
    title: 'The grant type is not known here',
    help: 'Token exchange, or client credentials with `private_key_jwt`.',
  },
} as const satisfies Record<string, { status: number; title: string; help: string }>;

export type ErrorCode = keyof typeof errorTable;

/** A fault in one field of the caller's input. */
export interface FieldFault {
  /** `params.bucket`, `authorization_details[0].inputs.customer_id`; empty for the whole. */
  path: string;
  message: string;
  line?: number;
  column?: number;
}

export interface WritErrorOptions {
  /** What the caller reads beyond the title. Written by us, never an upstream's or a library's text. */
  detail?: string;
  errors?: FieldFault[];
  /** Members added to the problem document (`reasons`, `nearest`, `provider_code`). */
  extensions?: Record<string, unknown>;
  retryAfterSeconds?: number;
  /** The whole story, for the log only. */
  cause?: unknown;
}

/** Thrown wherever a caller must be answered with something other than success. */
export class WritError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly errors: FieldFault[] | undefined;
  readonly extensions: Record<string, unknown>;
  readonly retryAfterSeconds: number | undefined;
  /** A row of the record tells of it already. */
  recorded = false;
  /** The verified agent whose request it was, where nobody else knows it. */
  agent: string | null = null;

  constructor(code: ErrorCode, options: WritErrorOptions = {}) {
    super(options.detail ?? errorTable[code].title, { cause: options.cause });
    this.name = 'WritError';
    this.code = code;
    this.detail = options.detail;
    this.errors = options.errors;
    this.extensions = options.extensions ?? {};
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/**
 * Converts anything thrown to a WritError. An unexpected error becomes `internal`: the caller learns only the
 * request id.
 */
export function asWritError(error: unknown): WritError {
  if (error instanceof WritError) return error;
  const known = error as { type?: string; status?: number; code?: string } | null;
  switch (known?.type) {
    case 'entity.too.large':
    case 'parameters.too.many':
      return new WritError('body_too_large', { cause: error });
    case 'entity.parse.failed':
      // Without its cause: the parser's message quotes the body, and a log must not.
      return new WritError('invalid_json');
    case 'charset.unsupported':
    case 'encoding.unsupported':
      // The same: it quotes a header.
      return new WritError('unsupported_media_type');
    case 'request.aborted':
    case 'request.size.invalid':
    case 'stream.encoding.set':
    case 'querystring.parse.rangeError':
      return new WritError('bad_request', { cause: error });
  }
  if (error instanceof URIError)
    return new WritError('bad_request', { detail: 'The address is not well-formed.', cause: error });
  if (isDatabaseOutage(known)) return new WritError('unavailable', { retryAfterSeconds: 5, cause: error });
  return new WritError('internal', { cause: error });
}

/** Of Node's sockets and name look-ups, and of Prisma. */
const outageCodes = new Set([
  ...[
    'ECONNREFUSED',
    'ECONNRESET',
    'ETIMEDOUT',
    'EPIPE',
    'EHOSTUNREACH',
    'ENETUNREACH',
    'ENOTFOUND',
    'EAI_AGAIN',
    'ENOSPC',
  ],
  ...['P1000', 'P1001', 'P1002', 'P1008', 'P1010', 'P1011', 'P1017', 'P2024', 'P2034', 'P2037'],
]);

/**
 * By the beginning of SQLSTATE: no connection, no resources, an error of its system, going down or starting;
 * a statement given up (57014), or undone because of others (40001, 40P01, 55P03); no changes taken (25006: a
 * standby); a login, a database or a right that is not there any more (28, 3D000, 42501).
 */
const outageStates = /^(08|53|58|57P0|57014|40001|40P01|55P03|25006|28|3D000|42501)/;

/** It cannot be reached, or does not serve us: nothing was decided, and asking again may help. */
function isDatabaseOutage(error: { code?: string } | null): boolean {
  const message = error instanceof Error ? error.message : '';
  // Where Prisma has no code of its own for the server's, it says the server's in the message only.
  const code = (error?.code === 'P2039' ? /Code: `(\w{5})`/.exec(message)?.[1] : error?.code) ?? '';
  if (outageCodes.has(code) || outageStates.test(code) || certificateFault(error) !== null) return true;
  return /Connection terminated|timeout exceeded when trying to connect|Query read timeout/.test(message);
}
