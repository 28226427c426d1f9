/** The shapes in which Google says no: one error, three wire formats. */

/**
 * Canonical codes (google/rpc/code.proto) that the counterpart uses, with their HTTP status and gRPC number.
 */
const statusCodes = {
  INVALID_ARGUMENT: { http: 400, grpc: 3 },
  FAILED_PRECONDITION: { http: 400, grpc: 9 },
  UNAUTHENTICATED: { http: 401, grpc: 16 },
  PERMISSION_DENIED: { http: 403, grpc: 7 },
  NOT_FOUND: { http: 404, grpc: 5 },
  RESOURCE_EXHAUSTED: { http: 429, grpc: 8 },
  UNAVAILABLE: { http: 503, grpc: 14 },
} as const;

export type GoogleStatus = keyof typeof statusCodes;

export class GoogleError extends Error {
  readonly status: GoogleStatus;
  readonly httpStatus: number;
  readonly grpcCode: number;
  /** google.rpc.RetryInfo, and the header Retry-After. */
  readonly retryAfterSeconds: number | undefined;

  constructor(status: GoogleStatus, message: string, retryAfterSeconds?: number) {
    super(message);
    this.status = status;
    this.httpStatus = statusCodes[status].http;
    this.grpcCode = statusCodes[status].grpc;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** How IAM and IAM Credentials answer (https://cloud.google.com/apis/design/errors). */
export function apiErrorBody(error: GoogleError): object {
  const { httpStatus: code, message, status, retryAfterSeconds } = error;
  const info = { '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: `${retryAfterSeconds}s` };
  return { error: { code, message, status, ...(retryAfterSeconds === undefined ? {} : { details: [info] }) } };
}

const storageReasons: Record<GoogleStatus, string> = {
  INVALID_ARGUMENT: 'invalid',
  FAILED_PRECONDITION: 'conditionNotMet',
  UNAUTHENTICATED: 'authError',
  PERMISSION_DENIED: 'forbidden',
  NOT_FOUND: 'notFound',
  RESOURCE_EXHAUSTED: 'rateLimitExceeded',
  UNAVAILABLE: 'backendError',
};

/** How the Cloud Storage JSON API answers: an `errors` list with a reason, no canonical status. */
export function storageErrorBody(error: GoogleError): object {
  const entry = { message: error.message, domain: 'global', reason: storageReasons[error.status] };
  return { error: { code: error.httpStatus, message: error.message, errors: [entry] } };
}

/** How the Security Token Service answers (RFC 6749 section 5.2). */
export class StsError extends Error {
  readonly code: 'invalid_request' | 'invalid_grant' | 'invalid_target' | 'unsupported_grant_type';

  constructor(code: StsError['code'], description: string) {
    super(description);
    this.code = code;
  }
}

export function stsErrorBody(error: StsError): object {
  return { error: error.code, error_description: error.message };
}
