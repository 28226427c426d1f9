/**
 * Signature Version 4, from the verifier's side (AWS General Reference, "Create a signed AWS API request"):
 * rebuild the canonical request from what arrived and compare. Only the header form; presigned URLs are not
 * read.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { AwsError } from './errors.ts';
import type { Principal, State } from './state.ts';
import type { WireRequest } from './wire.ts';

export interface Signed {
  principal: Principal;
  service: string;
  region: string;
}

const maxSkewMs = 15 * 60_000;

/** The service in the credential scope, which decides who answers; null for an unsigned request. */
export const scopeOf = (
  request: WireRequest,
): { accessKeyId: string; date: string; region: string; service: string } | null => {
  const match = /Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request/.exec(request.headers.authorization ?? '');
  if (match === null) return null;
  const [, accessKeyId = '', date = '', region = '', service = ''] = match;
  return { accessKeyId, date, region, service };
};

/** Who signed this request. Throws the refusal AWS would give. */
export function verifySignature(state: State, request: WireRequest): Signed {
  const scope = scopeOf(request);
  const parts = /SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})$/.exec(request.headers.authorization ?? '');
  if (scope === null || parts === null)
    throw new AwsError('MissingAuthenticationToken', 403, 'Missing Authentication Token');
  const signedHeaders = (parts[1] ?? '').split(';');
  const principal = state.principals.get(scope.accessKeyId);
  if (principal === undefined)
    throw scope.service === 's3'
      ? new AwsError('InvalidAccessKeyId', 403, 'The AWS Access Key Id you provided does not exist in our records.')
      : new AwsError('InvalidClientTokenId', 403, 'The security token included in the request is invalid.');

  const mustBeSigned = Object.keys(request.headers).filter((name) => name === 'host' || name.startsWith('x-amz-'));
  const wanted = signatureOf(request, scope, signedHeaders, principal.secretAccessKey);
  const complete = mustBeSigned.every((name) => signedHeaders.includes(name));
  if (!complete || !timingSafeEqual(Buffer.from(wanted, 'hex'), Buffer.from(parts[2] ?? '', 'hex')))
    throw new AwsError(
      'SignatureDoesNotMatch',
      403,
      'The request signature we calculated does not match the signature you provided.',
    );

  checkTime(state, request, scope);
  checkPayload(request, scope.service);
  checkSession(state, request, principal);
  return { principal, service: scope.service, region: scope.region };
}

function checkTime(state: State, request: WireRequest, scope: { date: string; service: string }): void {
  const stamp = request.headers['x-amz-date'] ?? '';
  const at = Date.parse(stamp.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  if (!stamp.startsWith(scope.date) || !(Math.abs(at - state.clock.now().getTime()) <= maxSkewMs))
    throw scope.service === 's3'
      ? new AwsError(
          'RequestTimeTooSkewed',
          403,
          'The difference between the request time and the current time is too large.',
        )
      : new AwsError('SignatureDoesNotMatch', 403, `Signature expired: ${stamp}`);
}

function checkPayload(request: WireRequest, service: string): void {
  const claimed = request.headers['x-amz-content-sha256'];
  if (claimed === undefined || claimed === sha256(request.body)) return;
  if (service === 's3' && (claimed === 'UNSIGNED-PAYLOAD' || claimed === 'STREAMING-UNSIGNED-PAYLOAD-TRAILER')) return;
  throw new AwsError(
    'XAmzContentSHA256Mismatch',
    400,
    'The provided x-amz-content-sha256 header does not match what was computed.',
  );
}

function checkSession(state: State, request: WireRequest, principal: Principal): void {
  const token = request.headers['x-amz-security-token'];
  if (principal.session === null && token === undefined) return;
  if (principal.session === null || token !== principal.session.token)
    throw new AwsError('InvalidToken', 400, 'The provided token is malformed or otherwise invalid.');
  if (state.clock.now().getTime() >= principal.session.expiresAt)
    throw new AwsError('ExpiredToken', 400, 'The provided token has expired.');
}

function signatureOf(
  request: WireRequest,
  scope: { date: string; region: string; service: string },
  signedHeaders: string[],
  secret: string,
): string {
  const canonical = [
    request.method,
    canonicalPath(request.path, scope.service),
    canonicalQuery(request.query),
    ...signedHeaders.map((name) => `${name}:${(request.headers[name] ?? '').trim().replace(/\s+/g, ' ')}`),
    '',
    signedHeaders.join(';'),
    request.headers['x-amz-content-sha256'] ?? sha256(request.body),
  ].join('\n');
  const scopeText = `${scope.date}/${scope.region}/${scope.service}/aws4_request`;
  const toSign = ['AWS4-HMAC-SHA256', request.headers['x-amz-date'] ?? '', scopeText, sha256(canonical)].join('\n');
  const key = [scope.date, scope.region, scope.service, 'aws4_request'].reduce<Buffer | string>(hmac, `AWS4${secret}`);
  return hmac(key, toSign).toString('hex');
}

/** S3 encodes the path once, every other service twice. */
function canonicalPath(path: string, service: string): string {
  const once = path.split('/').map((segment) => encode(decodeURIComponent(segment)));
  return service === 's3' ? once.join('/') : once.map(encode).join('/');
}

const canonicalQuery = (query: URLSearchParams) =>
  [...query]
    .map(([name, value]) => [encode(name), encode(value)] as const)
    .sort(([a, x], [b, y]) => (a === b ? (x < y ? -1 : 1) : a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${value}`)
    .join('&');

const encode = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest();
