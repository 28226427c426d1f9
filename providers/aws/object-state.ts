/** Objects in S3 as they are: the version of one, or how many there are under a prefix and their listing. */
import { createHash } from 'node:crypto';
import { HeadObjectCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import { ProviderError } from '../contract.ts';
import { toProviderError } from './errors.ts';
import { literal } from './literal.ts';
import type { AwsParams } from './params.ts';
import { partitionOf } from './partition.ts';
import { type AwsPermission, allow, keyStatements, neverAssume } from './session-policy.ts';

type S3Params = Extract<AwsParams, { service: 's3' }>;

/** A page of S3 has 1,000 objects. More of them nobody compares. */
const mostPages = 10;

export type SeenObjects =
  /** Null: there is no such object. */
  | { object: { version: string | null; etag: string; bytes: number; modified: string } | null }
  | {
      count: number;
      bytes: number;
      newest: { key: string; modified: string } | null;
      /** SHA-256 of all names, ETags, sizes and times. */
      listing: string;
    };

/**
 * What the session that reads may do: look at this one object, or list this one prefix. S3 has no action that
 * tells an object's version without its content. That the object is not there tells only who may list its
 * name.
 */
export function readingPolicy(params: S3Params): AwsPermission['session_policy'] {
  const bucket = `arn:${partitionOf(params.role)}:s3:::${literal(params.bucket)}`;
  const prefix = params.key ?? params.prefix;
  const named = prefix === undefined ? undefined : { StringEquals: { 's3:prefix': literal(prefix) } };
  return {
    Version: '2012-10-17',
    Statement: [
      ...(params.key === undefined ? [] : readingOne(params, `${bucket}/${literal(params.key)}`, bucket)),
      allow(['s3:ListBucket'], [bucket], named),
      neverAssume,
    ],
  };
}

const readingOne = ({ kms_key }: S3Params, object: string, bucket: string) => [
  allow(['s3:GetObject'], [object]),
  ...(kms_key === undefined ? [] : keyStatements(kms_key, 'get', bucket, object)),
];

/** @throws ProviderError */
export const readObjects = (s3: S3Client, params: S3Params, signal: AbortSignal): Promise<SeenObjects> =>
  params.key === undefined
    ? readListing(s3, { bucket: params.bucket, prefix: params.prefix }, signal)
    : readObject(s3, { bucket: params.bucket, key: params.key }, signal);

async function readObject(
  s3: S3Client,
  { bucket, key }: { bucket: string; key: string },
  signal: AbortSignal,
): Promise<SeenObjects> {
  try {
    const command = new HeadObjectCommand({ Bucket: bucket, Key: key });
    const head = await onceMore(() => s3.send(command, { abortSignal: signal }));
    const { VersionId: version, ETag: etag, ContentLength: bytes, LastModified: modified } = head;
    if (etag === undefined || bytes === undefined || modified === undefined)
      throw new ProviderError('upstream_mismatch', 'S3 tells neither version nor size of the object');
    return { object: { version: version ?? null, etag, bytes, modified: modified.toISOString() } };
  } catch (error) {
    const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
    if (status === 404) return { object: null };
    // Where the whole bucket may not be listed, S3 says the same of what is not there and of what is barred.
    if (status === 403 && (await isAbsent(s3, bucket, key, signal))) return { object: null };
    throw toProviderError(error, 's3:HeadObject', signal);
  }
}

async function isAbsent(s3: S3Client, bucket: string, key: string, signal: AbortSignal): Promise<boolean> {
  const first = new ListObjectsV2Command({ Bucket: bucket, Prefix: key, MaxKeys: 1 });
  // Of all names that begin so, its own is the first.
  return s3.send(first, { abortSignal: signal }).then(
    ({ Contents = [] }) => Contents[0]?.Key !== key,
    () => false,
  );
}

async function readListing(
  s3: S3Client,
  { bucket, prefix }: { bucket: string; prefix: string | undefined },
  signal: AbortSignal,
): Promise<SeenObjects> {
  const hash = createHash('sha256');
  let [count, bytes] = [0, 0];
  let newest: { key: string; modified: string } | null = null;
  let token: string | undefined;
  for (let page = 0; page < mostPages; page += 1) {
    const command = new ListObjectsV2Command({
      Bucket: bucket,
      ...(prefix === undefined ? {} : { Prefix: prefix }),
      ...(token === undefined ? {} : { ContinuationToken: token }),
    });
    const answer = await onceMore(() => s3.send(command, { abortSignal: signal })).catch((error) => {
      throw toProviderError(error, 's3:ListObjectsV2', signal);
    });
    for (const { Key: key, ETag: etag, Size: size, LastModified } of answer.Contents ?? []) {
      if (key === undefined || etag === undefined || size === undefined || LastModified === undefined)
        throw new ProviderError('upstream_mismatch', 'S3 lists an object without its name, ETag, size or time');
      const modified = LastModified.toISOString();
      hash.update(`${JSON.stringify([key, etag, size, modified])}\n`);
      count += 1;
      bytes += size;
      if (newest === null || modified > newest.modified) newest = { key, modified };
    }
    if (answer.IsTruncated !== true) return { count, bytes, newest, listing: hash.digest('hex') };
    token = answer.NextContinuationToken;
    if (token === undefined) throw new ProviderError('upstream_mismatch', 'S3 does not say how its listing goes on');
  }
  throw new ProviderError('upstream_refused', `More than ${mostPages * 1000} objects: no state is read`);
}

/** Where clocks are apart the SDK has set its own by the refusal. The client itself makes one attempt. */
const onceMore = <T>(send: () => Promise<T>): Promise<T> =>
  send().catch((error: { $metadata?: { clockSkewCorrected?: true } }) =>
    error.$metadata?.clockSkewCorrected === true ? send() : Promise.reject(error),
  );

/** In words. Pure. */
export function objectsInWords({ bucket, key, prefix }: S3Params, seen: SeenObjects): string {
  if ('object' in seen) {
    const what = `The object ${shown(key ?? '')} in ${bucket} as it is`;
    if (seen.object === null) return `${what}: there is none`;
    const { version, etag, bytes, modified } = seen.object;
    const name = version === null ? `ETag ${etag.replaceAll('"', '')}` : `version ${version}`;
    return `${what}: ${shown(name)}, ${bytes} bytes, written ${modified}`;
  }
  const { count, bytes, newest, listing } = seen;
  const where = prefix === undefined ? `in the bucket ${bucket}` : `under ${shown(prefix)} in ${bucket}`;
  if (newest === null) return `The objects ${where} as they are: none`;
  return (
    `The objects ${where} as they are: ${count} with ${bytes} bytes, the newest ${shown(newest.key)} ` +
    `written ${newest.modified}, listing ${listing.slice(0, 12)}`
  );
}

/** Somebody else named it: no control characters, and long names keep both ends. */
function shown(name: string): string {
  const plain = [...name.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\ufffd')];
  return plain.length <= 120 ? plain.join('') : `${plain.slice(0, 70).join('')}…${plain.slice(-40).join('')}`;
}
