/** Checkpoints in a real bucket with object lock: they come back in order, and nobody takes one away. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { bucketPlace, bucketSink } from '../../broker/audit/checkpoint-bucket.ts';
import {
  checkpointKey,
  hashOf,
  publicName,
  readCheckpoints,
  signCheckpoint,
} from '../../broker/audit/checkpoint-format.ts';
import { systemClock } from '../../broker/core/clock.ts';
import { admin, clientOptions } from './store.test-support.ts';

const config = { ...clientOptions, credentials: admin, forcePathStyle: true };
const s3 = new S3Client(config);
after(() => s3.destroy());
const Bucket = `checkpoints-${randomBytes(5).toString('hex')}`;
const key = checkpointKey(randomBytes(32));

test('each is an object of its own, in order, and neither changed nor removed before its time', async () => {
  await s3.send(new CreateBucketCommand({ Bucket, ObjectLockEnabledForBucket: true }));
  const at = systemClock.now().toISOString();
  const lines: string[] = [];
  for (let number = 1; number <= 11; number += 1)
    lines.push(
      signCheckpoint(
        {
          number,
          previous: lines.length === 0 ? '' : hashOf(lines.at(-1)!),
          at,
          heads: [['system', number, 'a'.repeat(64)]],
        },
        key,
      ),
    );
  const sink = bucketSink(bucketPlace(`s3://${Bucket}/record`, 1), systemClock, config);
  const never = new AbortController().signal;
  await sink(lines.slice(0, 4), never);
  // What may have been written comes again.
  await sink(lines.slice(2), never);

  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix: 'record/' }));
  const names = Contents.map(({ Key }) => Key!);
  assert.equal(names.length, lines.length);
  const texts = await Promise.all(
    names.map(async (Key) => (await s3.send(new GetObjectCommand({ Bucket, Key }))).Body!.transformToString()),
  );
  const read = readCheckpoints([texts.join('')], publicName(key));
  assert.ok(typeof read !== 'string', String(read));
  assert.deepEqual([read.count, read.last.number, read.anchors.get('system')?.size], [11, 11, 11]);

  const first = names[0]!;
  const { Versions = [] } = await s3.send(new ListObjectVersionsCommand({ Bucket, Prefix: first }));
  for (const { VersionId } of Versions)
    await assert.rejects(s3.send(new DeleteObjectCommand({ Bucket, Key: first, VersionId })), { name: 'AccessDenied' });
  // A new version of the same name hides nothing: the old one is there.
  await s3.send(new PutObjectCommand({ Bucket, Key: first, Body: 'nothing' }));
  const VersionId = Versions[0]!.VersionId!;
  const old = await s3.send(new GetObjectCommand({ Bucket, Key: first, VersionId }));
  assert.equal(await old.Body!.transformToString(), `${lines[0]}\n`);
});
