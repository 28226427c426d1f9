/**
 * Checkpoints in a bucket with object lock: until a checkpoint's retention is over, nobody can change or
 * remove it, whoever owns the database, and with the mode COMPLIANCE not even who owns the account (Amazon S3
 * user guide, "Locking objects with Object Lock").
 */
import { createHash } from 'node:crypto';
import { PutObjectCommand, S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import type { Clock } from '../core/vocabulary.ts';
import { numberOf } from './checkpoint-format.ts';
import type { CheckpointSink } from './checkpoint-sinks.ts';

export interface BucketPlace {
  bucket: string;
  /** Begins every key; empty, or ends in a slash. */
  prefix: string;
  /** How long nobody may remove a checkpoint; null = as the bucket has it by default. */
  retentionDays: number | null;
}

/** @param url `s3://BUCKET/PREFIX` */
export function bucketPlace(url: string, retentionDays: number | null): BucketPlace {
  const [bucket = '', ...path] = url.slice('s3://'.length).split('/');
  const prefix = path.filter((part) => part !== '').join('/');
  return { bucket, prefix: prefix === '' ? '' : `${prefix}/`, retentionDays };
}

/**
 * One object a checkpoint, named by its number, so that a listing is in order, and by its digest: what is
 * written again is the same object.
 * @param config of the SDK's client; endpoint, region and credentials are what the SDK finds by itself
 */
export function bucketSink(place: BucketPlace, clock: Clock, config: S3ClientConfig = {}): CheckpointSink {
  // By path: stores of one's own have no name per bucket, and Amazon takes both.
  const client = new S3Client({ maxAttempts: 2, forcePathStyle: true, ...config });
  return async (lines, signal) => {
    for (const line of lines) {
      const until =
        place.retentionDays === null ? null : new Date(clock.now().getTime() + place.retentionDays * 86_400_000);
      await client.send(
        new PutObjectCommand({
          Bucket: place.bucket,
          Key: keyOf(place.prefix, line),
          Body: `${line}\n`,
          ContentType: 'text/plain; charset=utf-8',
          ...(until === null ? {} : { ObjectLockMode: 'COMPLIANCE', ObjectLockRetainUntilDate: until }),
        }),
        { abortSignal: signal },
      );
    }
  };
}

function keyOf(prefix: string, line: string): string {
  const digest = createHash('sha256').update(line).digest('hex').slice(0, 16);
  return `${prefix}${String(numberOf(line)).padStart(12, '0')}-${digest}.jws`;
}
