/**
 * S3, path-style: objects and listings. Every sub-resource or copy that is not here is refused, so that
 * nothing slips past authorization.
 */
import { createHash, randomBytes } from 'node:crypto';
import { AwsError, accessDenied } from './errors.ts';
import { isMultipart, multipart } from './multipart.ts';
import { authorize, type Principal, type State, type StoredObject } from './state.ts';
import { type WireAnswer, type WireRequest, xmlAnswer } from './wire.ts';

const listParameters = [
  'list-type',
  'prefix',
  'delimiter',
  'max-keys',
  'continuation-token',
  'start-after',
  'encoding-type',
  'fetch-owner',
  'x-id',
  'uploads',
  'uploadId',
  'partNumber',
  'max-parts',
];

export function s3(state: State, request: WireRequest, caller: Principal): WireAnswer {
  const [, bucketName = '', ...rest] = request.path.split('/').map(decodeURIComponent);
  const key = rest.join('/');
  const foreign = [...request.query.keys()].find((name) => !listParameters.includes(name));
  if (foreign !== undefined || request.headers['x-amz-copy-source'] !== undefined || bucketName === '')
    throw new AwsError(
      'NotImplemented',
      501,
      'A header or query you provided implies functionality that is not implemented.',
    );
  return key === '' ? onBucket(state, request, caller, bucketName) : onObject(state, request, caller, bucketName, key);
}

function onBucket(state: State, request: WireRequest, caller: Principal, bucketName: string): WireAnswer {
  if (request.method !== 'GET' && request.method !== 'HEAD')
    throw new AwsError('NotImplemented', 501, 'Buckets are made when the sandbox starts.');
  const prefix = request.query.get('prefix') ?? '';
  const delimiter = request.query.get('delimiter') ?? '';
  const maxKeys = Math.min(1000, Number(request.query.get('max-keys') ?? '1000'));
  authorize(state, caller, 's3:ListBucket', `arn:aws:s3:::${bucketName}`, {
    ...(request.query.has('prefix') ? { 's3:prefix': [prefix] } : {}),
    ...(request.query.has('delimiter') ? { 's3:delimiter': [delimiter] } : {}),
    ...(request.query.has('max-keys') ? { 's3:max-keys': [String(maxKeys)] } : {}),
  });
  const bucket = bucketCalled(state, bucketName);
  if (request.method === 'HEAD') return { status: 200, headers: {}, body: '' };
  const after = request.query.get('continuation-token') ?? request.query.get('start-after') ?? '';
  const keys = [...bucket]
    .filter(([key, object]) => object.marker !== true && key.startsWith(prefix) && key > after)
    .map(([key]) => key)
    .sort();
  const folders = new Set<string>();
  const contents: string[] = [];
  for (const key of keys) {
    const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length);
    if (end >= 0) folders.add(key.slice(0, end + delimiter.length));
    else contents.push(key);
  }
  const shown = contents.slice(0, maxKeys);
  const truncated = shown.length < contents.length;
  return xmlAnswer(200, {
    'ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"': {
      Name: bucketName,
      Prefix: prefix,
      KeyCount: shown.length + folders.size,
      MaxKeys: maxKeys,
      IsTruncated: truncated,
      NextContinuationToken: truncated ? shown.at(-1) : undefined,
      Contents: shown.map((key) => ({
        Key: key,
        LastModified: bucket.get(key)?.modified.toISOString() ?? '',
        ETag: etagOf(bucket.get(key)?.body ?? Buffer.alloc(0)),
        Size: bucket.get(key)?.body.length ?? 0,
        StorageClass: 'STANDARD',
      })),
      CommonPrefixes: [...folders].map((folder) => ({ Prefix: folder })),
    },
  });
}

function onObject(state: State, request: WireRequest, caller: Principal, bucketName: string, key: string): WireAnswer {
  const resource = `arn:aws:s3:::${bucketName}/${key}`;
  const put = (body: Buffer): WireAnswer => {
    const contentType = request.headers['content-type'] ?? 'application/octet-stream';
    const stored = { ...storedObject(body, state.clock.now(), state.versioned.has(bucketName)), contentType };
    bucketCalled(state, bucketName).set(key, stored);
    return { status: 200, headers: { etag: etagOf(body), ...versionHeader(stored) }, body: '' };
  };
  if (isMultipart(request)) {
    // What begins or goes on with an upload needs a data key, what puts it together reads the parts again.
    if (request.method !== 'DELETE' && request.method !== 'GET') {
      useKey(state, caller, bucketName, resource, 'kms:GenerateDataKey');
      useKey(state, caller, bucketName, resource, 'kms:Decrypt');
    }
    return multipart(state, request, caller, { bucket: bucketName, key, resource }, bodyOf, put);
  }
  const action = { GET: 's3:GetObject', HEAD: 's3:GetObject', PUT: 's3:PutObject', DELETE: 's3:DeleteObject' }[
    request.method
  ];
  if (action === undefined)
    throw new AwsError('MethodNotAllowed', 405, 'The specified method is not allowed against this resource.');
  authorize(state, caller, action, resource);
  const bucket = bucketCalled(state, bucketName);
  if (request.method === 'DELETE') {
    const marker = removeObject(state, bucketName, bucket, key);
    return { status: 204, headers: marker === null ? {} : markerHeaders(marker), body: '' };
  }
  if (request.method === 'PUT') {
    useKey(state, caller, bucketName, resource, 'kms:GenerateDataKey');
    return put(bodyOf(request));
  }
  const object = liveObject(bucket.get(key));
  if (object === undefined) throw missingKey(state, caller, bucketName, resource);
  useKey(state, caller, bucketName, resource, 'kms:Decrypt');
  const headers = {
    etag: etagOf(object.body),
    ...versionHeader(object),
    'content-type': object.contentType,
    'last-modified': object.modified.toUTCString(),
  };
  if (request.method === 'HEAD')
    return { status: 200, headers: { ...headers, 'content-length': String(object.body.length) }, body: '' };
  return { status: 200, headers, body: object.body };
}

function bodyOf(request: WireRequest): Buffer {
  const chunked = request.headers['x-amz-content-sha256'] === 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
  return chunked ? withoutChunks(request.body) : request.body;
}

/** S3 asks KMS in the caller's name, and says which object it is about. */
function useKey(state: State, caller: Principal, bucketName: string, resource: string, action: string): void {
  const key = state.encrypted.get(bucketName);
  if (key === undefined) return;
  authorize(state, caller, action, key, {
    'kms:viaservice': [`s3.${key.split(':')[3]}.amazonaws.com`],
    'kms:encryptioncontext:aws:s3:arn': [resource],
  });
}

export const storedObject = (body: Buffer, modified: Date, versioned: boolean): StoredObject => ({
  body,
  modified,
  contentType: 'text/plain',
  version: versioned ? randomBytes(24).toString('base64url') : null,
});

export const liveObject = (object: StoredObject | undefined) => (object?.marker === true ? undefined : object);

/** @returns the marker that it leaves where versions are kept */
export function removeObject(
  state: State,
  bucketName: string,
  bucket: Map<string, StoredObject>,
  key: string,
): StoredObject | null {
  if (!state.versioned.has(bucketName)) {
    bucket.delete(key);
    return null;
  }
  const marker: StoredObject = { ...storedObject(Buffer.alloc(0), state.clock.now(), true), marker: true };
  bucket.set(key, marker);
  return marker;
}

const versionHeader = ({ version }: StoredObject) => (version === null ? {} : { 'x-amz-version-id': version });
const markerHeaders = (marker: StoredObject) => ({ 'x-amz-delete-marker': 'true', ...versionHeader(marker) });

/** Who may not list the bucket is not told which keys exist. */
function missingKey(state: State, caller: Principal, bucketName: string, resource: string): AwsError {
  try {
    authorize(state, caller, 's3:ListBucket', `arn:aws:s3:::${bucketName}`);
  } catch {
    return accessDenied(caller.arn, 's3:ListBucket', resource);
  }
  return new AwsError('NoSuchKey', 404, 'The specified key does not exist.');
}

function bucketCalled(state: State, name: string) {
  const bucket = state.buckets.get(name);
  if (bucket === undefined) throw new AwsError('NoSuchBucket', 404, 'The specified bucket does not exist');
  return bucket;
}

/** Undoes `aws-chunked`: hexadecimal length, data, …, a chunk of length zero, trailers. */
function withoutChunks(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf('\r\n', at);
    const length = Number.parseInt(body.subarray(at, end).toString('latin1'), 16);
    if (end < 0 || Number.isNaN(length)) throw new AwsError('IncompleteBody', 400, 'The chunked body is malformed.');
    if (length === 0) return Buffer.concat(parts);
    parts.push(body.subarray(end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
}

const etagOf = (body: Buffer) => `"${createHash('md5').update(body).digest('hex')}"`;
