/**
 * Security Token Service, `POST /v1/token` (RFC 8693): federation of outside tokens, and downscoping of
 * Google's own.
 */
import { parseBoundary } from './boundary.ts';
import { StsError } from './errors.ts';
import { grantToken, liveToken, type World } from './world.ts';

const tokenTypePrefix = 'urn:ietf:params:oauth:token-type:';
const federatedLifetimeMs = 3600_000;

/** Answers one exchange. `form` is the decoded body; throws StsError. */
export async function exchangeToken(
  world: World,
  federate: (audience: string, token: string) => Promise<string>,
  form: URLSearchParams,
): Promise<object> {
  if (required(form, 'grant_type') !== 'urn:ietf:params:oauth:grant-type:token-exchange')
    throw new StsError('unsupported_grant_type', 'The grant type is not supported.');
  if (required(form, 'requested_token_type') !== `${tokenTypePrefix}access_token`)
    throw new StsError('invalid_request', 'Unsupported requested_token_type.');
  const subjectToken = required(form, 'subject_token');
  switch (required(form, 'subject_token_type')) {
    case `${tokenTypePrefix}jwt`:
    case `${tokenTypePrefix}id_token`:
      return federatedToken(world, await federate(required(form, 'audience'), subjectToken), required(form, 'scope'));
    case `${tokenTypePrefix}access_token`:
      return downscopedToken(world, subjectToken, required(form, 'options'));
    default:
      throw new StsError('invalid_request', 'Unsupported subject_token_type.');
  }
}

function federatedToken(world: World, member: string, scope: string): object {
  const expiresAt = world.clock.now().getTime() + federatedLifetimeMs;
  const scopes = new Set(scope.split(' '));
  return answer(world, grantToken(world, { member, account: null, scopes, expiresAt, boundary: null }), expiresAt);
}

/** The new token lives exactly as long as its source, and dies with the source's account. */
function downscopedToken(world: World, subjectToken: string, options: string): object {
  const source = liveToken(world, subjectToken);
  if (source === null) throw new StsError('invalid_grant', 'The subject token is invalid or expired.');
  if (source.account === null) throw new StsError('invalid_grant', 'Only service account tokens can be downscoped.');
  if (source.boundary !== null)
    throw new StsError('invalid_grant', 'The subject token already has an access boundary.');
  const token = grantToken(world, { ...source, boundary: parseBoundary(options) });
  return answer(world, token, source.expiresAt);
}

function answer(world: World, token: string, expiresAt: number): object {
  return {
    access_token: token,
    issued_token_type: `${tokenTypePrefix}access_token`,
    token_type: 'Bearer',
    expires_in: Math.floor((expiresAt - world.clock.now().getTime()) / 1000),
  };
}

function required(form: URLSearchParams, name: string): string {
  const value = form.get(name);
  if (value === null || value === '') throw new StsError('invalid_request', `Missing required parameter: ${name}`);
  return value;
}
