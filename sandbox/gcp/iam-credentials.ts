/** IAM Credentials: generateAccessToken, one implementation behind both transports. */
import { GoogleError } from './errors.ts';
import { type AccessToken, findAccount, grantToken, hasScope, isEffectivelyDisabled, type World } from './world.ts';

export interface GenerateAccessTokenRequest {
  /** `projects/-/serviceAccounts/EMAIL` */
  name: string;
  scope: string[];
  /** Absent: one hour. */
  lifetimeSeconds: number | null;
  delegates: string[];
}

/** Returns the token and its end. Throws GoogleError as the real service does. */
export function generateAccessToken(
  world: World,
  caller: AccessToken,
  request: GenerateAccessTokenRequest,
): { accessToken: string; expireTime: Date } {
  const email = /^projects\/-\/serviceAccounts\/([^/:]+)$/.exec(request.name)?.[1];
  if (email === undefined)
    throw new GoogleError(
      'INVALID_ARGUMENT',
      'Invalid form of service account resource name: the project must be "-".',
    );
  if (request.delegates.length > 0) throw new GoogleError('INVALID_ARGUMENT', 'Delegation is not served here.');
  if (request.scope.length === 0 || request.scope.some((scope) => !/^(?:openid|email|https:\/\/\S+)$/.test(scope)))
    throw new GoogleError('INVALID_ARGUMENT', 'The scopes are missing or malformed.');
  const lifetime = request.lifetimeSeconds ?? 3600;
  if (!(lifetime > 0)) throw new GoogleError('INVALID_ARGUMENT', 'The lifetime must be positive.');
  if (lifetime > 3600)
    throw new GoogleError(
      'INVALID_ARGUMENT',
      'The access token lifetime cannot exceed 3600 seconds (constraints/iam.allowServiceAccountCredentialLifetimeExtension).',
    );
  if (!hasScope(caller, 'https://www.googleapis.com/auth/iam'))
    throw new GoogleError('PERMISSION_DENIED', 'Request had insufficient authentication scopes.');
  const account = findAccount(world, email);
  // The real service does not tell a missing account from a forbidden one.
  if (account === null || !account.tokenCreators.has(caller.member))
    throw new GoogleError(
      'PERMISSION_DENIED',
      "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
    );
  if (isEffectivelyDisabled(world, account))
    throw new GoogleError('FAILED_PRECONDITION', 'The service account is disabled.');
  const expiresAt = world.clock.now().getTime() + lifetime * 1000;
  const accessToken = grantToken(world, {
    member: `serviceAccount:${account.email}`,
    account,
    scopes: new Set(request.scope),
    expiresAt,
    boundary: null,
  });
  return { accessToken, expireTime: new Date(expiresAt) };
}

/** Reads the REST body: protobuf's JSON form, where a duration is text such as "900s". */
export function readRestRequest(name: string, body: unknown): GenerateAccessTokenRequest {
  const fields = (typeof body === 'object' && body !== null ? body : {}) as { [key: string]: unknown };
  const texts = (value: unknown): string[] => {
    if (value === undefined) return [];
    if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
    throw new GoogleError('INVALID_ARGUMENT', 'Invalid value: expected a list of strings.');
  };
  const lifetime =
    fields.lifetime === undefined ? null : /^(\d{1,9}(?:\.\d{1,9})?)s$/.exec(String(fields.lifetime))?.[1];
  if (lifetime === undefined) throw new GoogleError('INVALID_ARGUMENT', "Invalid value at 'lifetime' (Duration).");
  return {
    name,
    scope: texts(fields.scope),
    delegates: texts(fields.delegates),
    lifetimeSeconds: lifetime === null ? null : Number(lifetime),
  };
}
