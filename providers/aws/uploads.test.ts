// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are IAM's variables, not JavaScript's
/** Encrypted buckets and uploads in parts: what a permission for S3 must hold to work in real buckets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListPartsCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import type { JsonObject } from '../contract.ts';
import { describe } from './describe.ts';
import { type AwsHarness, account, agentRole, readObject, s3ClientFor, withBench } from './harness.test-support.ts';
import { narrower } from './narrower.ts';
import { awsParams } from './params.ts';
import { type AwsPermission, planFor } from './session-policy.ts';
import { awsSettings } from './settings.ts';

const key = `arn:aws:kms:eu-west-1:${account}:key/11111111-2222-3333-4444-555555555555`;
const otherKey = key.replace('11111111', '99999999');
const sandbox = {
  buckets: {
    orders: { 'customers/42/a.txt': 'inside', 'customers/7/c.txt': 'outside' },
    sealed: { 'customers/42/a.txt': 'inside', 'customers/7/c.txt': 'outside' },
    'other-seal': { 'customers/42/a.txt': 'outside' },
  },
  encrypted: { sealed: key, 'other-seal': otherKey },
};
const inSealed = (params: JsonObject) => ({
  role: agentRole,
  service: 's3',
  bucket: 'sealed',
  kms_key: key,
  ...params,
});

async function mint({ provider }: AwsHarness, params: JsonObject): Promise<JsonObject> {
  const plan = provider.plan(provider.params.parse({ role: agentRole, service: 's3', ...params }), 900);
  const context = {
    leaseId: 'lse_upload',
    sessionId: 'ses_1',
    agent: 'invoice-bot',
    signal: new AbortController().signal,
  };
  return (await provider.issue({ ...context, plan })).credential;
}

/** Begins an upload, sends a part, lists it, and ends it. */
async function upload(client: S3Client, Bucket: string, Key: string, finish: boolean): Promise<void> {
  const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  const { ETag } = await client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: 'part' }));
  const { Parts } = await client.send(new ListPartsCommand({ Bucket, Key, UploadId }));
  assert.equal(Parts?.[0]?.ETag, ETag);
  if (!finish) return void (await client.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId })));
  const MultipartUpload = { Parts: [{ ETag, PartNumber: 1 }] };
  await client.send(new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload }));
}

test('who may write may upload in parts, go on and give up, under the prefix alone', async () => {
  await withBench(
    async (harness) => {
      const client = s3ClientFor(
        harness,
        await mint(harness, { bucket: 'orders', prefix: 'customers/42/', access: 'write' }),
      );
      await upload(client, 'orders', 'customers/42/big.bin', true);
      assert.equal(harness.sandbox.object('orders', 'customers/42/big.bin'), 'part');
      await upload(client, 'orders', 'customers/42/given-up.bin', false);
      assert.equal(harness.sandbox.openUploads(), 0, 'what is given up leaves nothing that is paid for');
      await assert.rejects(upload(client, 'orders', 'customers/7/big.bin', true), { name: 'AccessDenied' });
      client.destroy();
      const reader = s3ClientFor(
        harness,
        await mint(harness, { bucket: 'orders', prefix: 'customers/42/', access: 'read' }),
      );
      await assert.rejects(upload(reader, 'orders', 'customers/42/big.bin', true), { name: 'AccessDenied' });
      reader.destroy();
    },
    { sandbox },
  );
});

test('an encrypted bucket is read and written with its key, through S3, for these objects alone', async () => {
  await withBench(
    async (harness) => {
      const blind = await mint(harness, { bucket: 'sealed', prefix: 'customers/42/', access: 'read_write' });
      assert.equal(await readObject(harness, blind, 'customers/42/a.txt', 'sealed'), 'refused', 'without the key');
      const given = await mint(harness, inSealed({ prefix: 'customers/42/', access: 'read_write' }));
      assert.equal(await readObject(harness, given, 'customers/42/a.txt', 'sealed'), 'accepted');
      assert.equal(await readObject(harness, given, 'customers/7/c.txt', 'sealed'), 'refused');
      const client = s3ClientFor(harness, given);
      await upload(client, 'sealed', 'customers/42/big.bin', true);
      client.destroy();
      const reader = s3ClientFor(harness, await mint(harness, inSealed({ prefix: 'customers/42/', access: 'read' })));
      await assert.rejects(upload(reader, 'sealed', 'customers/42/big.bin', true), { name: 'AccessDenied' });
      reader.destroy();
      // The session by its ARN: the key is of no use without S3 in between, nor is another key.
      const { arn = '' } = harness.sandbox.sessions().at(-1) ?? {};
      assert.equal(harness.sandbox.allows(arn, 'kms:Decrypt', key), false);
      const wrongKey = await mint(harness, { ...inSealed({ access: 'read' }), kms_key: otherKey });
      assert.equal(await readObject(harness, wrongKey, 'customers/42/a.txt', 'sealed'), 'refused');
    },
    { sandbox },
  );
});

test('a prefix with IAM’s variables and wildcards stays a literal in what is said to KMS', async () => {
  const objects = { 'a/*/x.txt': 'own', 'a/b/x.txt': 'foreign', '${aws:userid}/v.txt': 'v' };
  await withBench(
    async (harness) => {
      const star = await mint(harness, inSealed({ prefix: 'a/*/', access: 'read' }));
      assert.equal(await readObject(harness, star, 'a/*/x.txt', 'sealed'), 'accepted');
      assert.equal(await readObject(harness, star, 'a/b/x.txt', 'sealed'), 'refused');
      const variable = await mint(harness, inSealed({ prefix: '${aws:userid}/', access: 'read' }));
      assert.equal(await readObject(harness, variable, '${aws:userid}/v.txt', 'sealed'), 'accepted');
    },
    { sandbox: { ...sandbox, buckets: { sealed: objects } } },
  );
});

test('the state of an object in an encrypted bucket is read', async () => {
  await withBench(
    async ({ provider }) => {
      const params = provider.params.parse(inSealed({ key: 'customers/42/a.txt', access: 'get' }));
      const seen = await provider.state!(provider.plan(params, 900), new AbortController().signal);
      assert.equal((seen.objects as { object: { bytes: number } }).object.bytes, 6);
    },
    { sandbox },
  );
});

test('the key is in the words, and a longer prefix with it is narrower', () => {
  const settings = awsSettings.parse({ WRIT_AWS_ROLES: agentRole });
  const plan = (params: JsonObject) => planFor(awsParams.parse(inSealed(params)), 900, settings);
  const wide = plan({ prefix: 'customers/', access: 'read_write' });
  const less = plan({ prefix: 'customers/42/', access: 'read' });
  assert.deepEqual(describe(less, settings, []).summary.slice(0, 2), [
    'Read and list objects under customers/42/ in the S3 bucket sealed',
    `Through S3 alone, for these, use the key ${key}`,
  ]);
  const { session_policy } = less.permission as AwsPermission;
  assert.deepEqual(session_policy.Statement[1], {
    Effect: 'Allow',
    Action: ['kms:Decrypt'],
    Resource: [key],
    Condition: {
      StringLike: {
        'kms:ViaService': ['s3.eu-west-1.*'],
        'kms:EncryptionContext:aws:s3:arn': ['arn:aws:s3:::sealed', 'arn:aws:s3:::sealed/customers/42/*'],
      },
    },
  });
  assert.equal(narrower(plan({ prefix: 'customers/42/', access: 'read_write' }), wide), true);
  assert.equal(narrower(less, wide), true);
  assert.equal(narrower(wide, less), false);
  assert.equal(narrower(plan({ prefix: 'customers/42/', access: 'read', kms_key: otherKey }), wide), false);
  const without = planFor(
    awsParams.parse({ role: agentRole, service: 's3', bucket: 'sealed', prefix: 'customers/', access: 'read_write' }),
    900,
    settings,
  );
  assert.equal(narrower(without, wide), true);
  assert.equal(narrower(wide, without), false);
});
