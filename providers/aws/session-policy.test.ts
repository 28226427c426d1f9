// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are IAM's variables, not JavaScript's
/**
 * What ends up in the session policy, and what an attacker who chooses the values can make of it: nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { type JsonObject, ProviderError } from '../contract.ts';
import { describe } from './describe.ts';
import { agentRole, awsBench, callJson, readObject, s3ClientFor, settled } from './harness.test-support.ts';
import { literal, policyText } from './literal.ts';
import { narrower } from './narrower.ts';
import { awsParams } from './params.ts';
import { type AwsPermission, planFor, sessionPolicyLimit, untilPolicy } from './session-policy.ts';
import { awsSettings } from './settings.ts';

const settings = awsSettings.parse({ WRIT_AWS_ROLES: agentRole });
const plan = (params: JsonObject, ttl = 900) => planFor(awsParams.parse({ role: agentRole, ...params }), ttl, settings);
const policyOf = (params: JsonObject) => (plan(params).permission as AwsPermission).session_policy;
const s3 = (params: JsonObject) => ({ service: 's3', bucket: 'orders', access: 'read', ...params });

async function withBench(body: (harness: Awaited<ReturnType<typeof awsBench>>) => Promise<void>, sandbox = {}) {
  const harness = await awsBench({ sandbox });
  try {
    await body(harness);
  } finally {
    await harness.close();
  }
}

async function mint(harness: Awaited<ReturnType<typeof awsBench>>, params: JsonObject, ttl = 900): Promise<JsonObject> {
  const parsed = harness.provider.params.parse({ role: agentRole, ...params });
  const context = {
    leaseId: 'lse_policy',
    sessionId: 'ses_policy',
    agent: 'invoice-bot',
    signal: new AbortController().signal,
  };
  return (await harness.provider.issue({ ...context, plan: harness.provider.plan(parsed, ttl) })).credential;
}

test('read under a prefix is exactly get and list under that prefix, and no chaining', () => {
  assert.deepEqual(policyOf(s3({ prefix: 'customers/42/' })), {
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: ['s3:GetObject'], Resource: ['arn:aws:s3:::orders/customers/42/*'] },
      {
        Effect: 'Allow',
        Action: ['s3:ListBucket'],
        Resource: ['arn:aws:s3:::orders'],
        Condition: { StringLike: { 's3:prefix': 'customers/42/*' } },
      },
      { Effect: 'Deny', Action: 'sts:AssumeRole', Resource: '*' },
    ],
  });
});

test('a literal matches nothing but itself', () => {
  assert.equal(literal('a*b?c$d${aws:username}'), 'a${*}b${?}c${$}d${$}{aws:username}');
  assert.equal(literal('customers/42/'), 'customers/42/');
});

test('metacharacters in values widen nothing at the counterpart', async () => {
  const objects = {
    'customers/*/own.txt': 'own',
    'customers/42/a.txt': 'a',
    '?/q.txt': 'q',
    'x/z.txt': 'z',
    '${aws:userid}/v.txt': 'v',
  };
  await withBench(
    async (harness) => {
      const star = await mint(harness, s3({ prefix: 'customers/*/' }));
      assert.equal(await readObject(harness, star, 'customers/*/own.txt'), 'accepted');
      assert.equal(await readObject(harness, star, 'customers/42/a.txt'), 'refused');
      const client = s3ClientFor(harness, star);
      const list = (prefix: string) =>
        settled(client.send(new ListObjectsV2Command({ Bucket: 'orders', Prefix: prefix })));
      assert.equal(await list('customers/*/'), 'accepted');
      assert.equal(await list('customers/42/'), 'refused');
      assert.equal(await list('customers/'), 'refused');
      client.destroy();
      const question = await mint(harness, s3({ prefix: '?/' }));
      assert.equal(await readObject(harness, question, '?/q.txt'), 'accepted');
      assert.equal(await readObject(harness, question, 'x/z.txt'), 'refused');
      const variable = await mint(harness, s3({ prefix: '${aws:userid}/' }));
      assert.equal(await readObject(harness, variable, '${aws:userid}/v.txt'), 'accepted');
      const key = await mint(harness, s3({ key: '*', access: 'get' }));
      assert.equal(await readObject(harness, key, 'x/z.txt'), 'refused');
      const anyKey = await mint(harness, {
        service: 'dynamodb',
        region: 'eu-west-1',
        access: 'read',
        table: 'invoices',
        leading_key: '*',
      });
      const get = { TableName: 'invoices', Key: { customer: { S: '42' } } };
      assert.equal(await settled(callJson(harness, anyKey, 'dynamodb', 'DynamoDB_20120810.GetItem', get)), 'refused');
    },
    { buckets: { orders: objects } },
  );
});

test('a scan has no leading key and does not slip through ForAllValues', async () => {
  await withBench(async (harness) => {
    const one = await mint(harness, {
      service: 'dynamodb',
      region: 'eu-west-1',
      access: 'read_write',
      table: 'invoices',
      leading_key: '42',
    });
    const call = (credential: JsonObject, operation: string, input: JsonObject) =>
      settled(
        callJson(harness, credential, 'dynamodb', `DynamoDB_20120810.${operation}`, {
          TableName: 'invoices',
          ...input,
        }),
      );
    assert.equal(await call(one, 'Scan', {}), 'refused');
    assert.equal(await call(one, 'PutItem', { Item: { customer: { S: '42' } } }), 'accepted');
    assert.equal(await call(one, 'PutItem', { Item: { customer: { S: '7' } } }), 'refused');
    const query = { KeyConditionExpression: 'customer = :c', ExpressionAttributeValues: { ':c': { S: '42' } } };
    assert.equal(await call(one, 'Query', query), 'accepted');
    const whole = await mint(harness, { service: 'dynamodb', region: 'eu-west-1', access: 'read', table: 'invoices' });
    assert.equal(await call(whole, 'Scan', {}), 'accepted');
  });
});

test('the real S3 client works inside the scope and is refused outside of it', async () => {
  await withBench(async (harness) => {
    const client = s3ClientFor(harness, await mint(harness, s3({ prefix: 'customers/42/', access: 'read_write' })));
    const object = await client.send(new GetObjectCommand({ Bucket: 'orders', Key: 'customers/42/a.txt' }));
    assert.equal(await object.Body?.transformToString(), 'inside');
    await client.send(new PutObjectCommand({ Bucket: 'orders', Key: 'customers/42/nöte (1)+*.txt', Body: 'new' }));
    assert.equal(harness.sandbox.object('orders', 'customers/42/nöte (1)+*.txt'), 'new');
    const listed = await client.send(new ListObjectsV2Command({ Bucket: 'orders', Prefix: 'customers/42/' }));
    assert.deepEqual(
      listed.Contents?.map((entry) => entry.Key),
      ['customers/42/a.txt', 'customers/42/nöte (1)+*.txt'],
    );
    for (const [Bucket, Key] of [
      ['orders', 'customers/7/c.txt'],
      ['orders-archive', 'customers/42/a.txt'],
      ['orders', 'customers/42'],
    ] as const) {
      await assert.rejects(client.send(new GetObjectCommand({ Bucket, Key })), { name: 'AccessDenied' });
      await assert.rejects(client.send(new PutObjectCommand({ Bucket, Key, Body: 'x' })), { name: 'AccessDenied' });
    }
    await assert.rejects(client.send(new ListObjectsV2Command({ Bucket: 'orders' })), { name: 'AccessDenied' });
    client.destroy();
  });
});

test('a prefix that does not end in a delimiter is refused; a beginning says that it reaches neighbours', async () => {
  const objects = { 'customers/4/a.txt': 'own', 'customers/42/a.txt': 'neighbour', 'customers/43/a.txt': 'neighbour' };
  const granting = (list: string, ending: string) => ({
    service: 'custom',
    statements: [{ actions: ['s3:GetObject'], [list]: [`arn:aws:s3:::orders/customers/4${ending}`] }],
  });
  for (const ending of ['', '-', '.', '_', '=']) {
    const read = awsParams.safeParse({ role: agentRole, ...granting('resource_prefixes', ending) });
    assert.match(read.error?.issues[0]?.message ?? '', /^must end in "\/" or ":".*resource_beginnings$/, ending);
    assert.deepEqual(read.error?.issues[0]?.path, ['statements', 0, 'resource_prefixes', 0]);
  }
  await withBench(
    async (harness) => {
      const below = await mint(harness, granting('resource_prefixes', '/'));
      assert.equal(await readObject(harness, below, 'customers/4/a.txt'), 'accepted');
      for (const neighbour of ['42', '43'])
        assert.equal(await readObject(harness, below, `customers/${neighbour}/a.txt`), 'refused');
      const open = await mint(harness, granting('resource_beginnings', ''));
      assert.equal(await readObject(harness, open, 'customers/42/a.txt'), 'accepted');
    },
    { buckets: { orders: objects } },
  );
  assert.equal(
    describe(plan(granting('resource_beginnings', '')), settings, []).summary[0],
    's3:GetObject on everything whose ARN begins with arn:aws:s3:::orders/customers/4, whatever follows, neighbours too',
  );
  assert.ok(narrower(plan(granting('resource_prefixes', '/')), plan(granting('resource_beginnings', ''))));
  assert.equal(narrower(plan(granting('resource_beginnings', '')), plan(granting('resource_prefixes', '/'))), false);
});

test('one object is one object', async () => {
  await withBench(async (harness) => {
    const credential = await mint(harness, s3({ key: 'customers/42/a.txt', access: 'read' }));
    assert.equal(await readObject(harness, credential, 'customers/42/a.txt'), 'accepted');
    assert.equal(await readObject(harness, credential, 'customers/42/a.txt2'), 'refused');
  });
});

test('a session cannot assume a role again to lose its policy', async () => {
  await withBench(async (harness) => {
    const credential = await mint(harness, s3({}));
    const sts = new STSClient({
      region: 'eu-west-1',
      endpoint: harness.sandbox.url,
      credentials: {
        accessKeyId: String(credential.access_key_id),
        secretAccessKey: String(credential.secret_access_key),
        sessionToken: String(credential.session_token),
      },
    });
    const again = new AssumeRoleCommand({ RoleArn: agentRole, RoleSessionName: 'again' });
    await assert.rejects(sts.send(again), { name: 'AccessDenied' });
    sts.destroy();
  });
});

test('a lifetime below AWS’s own minimum ends to the second', async () => {
  await withBench(async (harness) => {
    const credential = await mint(harness, s3({}), 90);
    harness.clock.advance(89_000);
    assert.equal(await readObject(harness, credential, 'customers/42/a.txt'), 'accepted');
    harness.clock.advance(1_000);
    assert.equal(await readObject(harness, credential, 'customers/42/a.txt'), 'refused');
  });
});

test('the size check counts the end that issue writes in, and what JSON escapes', () => {
  const custom = (length: number, count: number) => ({
    service: 'custom',
    statements: [
      {
        actions: ['s3:GetObject'],
        resources: Array.from({ length: count }, () => `arn:aws:s3:::orders/${'k'.repeat(length)}`),
      },
    ],
  });
  const end = new Date('2030-01-01T00:00:00Z');
  const finalLength = (params: JsonObject) => policyText(untilPolicy(policyOf(params), end)).length;
  const base = finalLength(custom(1, 2));
  const fits = Math.floor((sessionPolicyLimit - base) / 2) + 1;
  assert.ok(finalLength(custom(fits, 2)) <= sessionPolicyLimit);
  assert.throws(
    () => plan(custom(fits + 1, 2)),
    (error) => error instanceof ProviderError && error.code === 'bad_params' && error.path === 'statements',
  );
  assert.match(policyText({ key: 'zażółć' }), /^[ -~]+$/);
  assert.deepEqual(JSON.parse(policyText({ key: 'zażółć' })), { key: 'zażółć' });
});

test('objects with names beyond Latin-1 can be granted', async () => {
  await withBench(
    async (harness) => {
      const credential = await mint(harness, s3({ prefix: '顧客/42/' }));
      assert.equal(await readObject(harness, credential, '顧客/42/請求書.txt'), 'accepted');
      assert.equal(await readObject(harness, credential, '顧客/7/請求書.txt'), 'refused');
    },
    { buckets: { orders: { '顧客/42/請求書.txt': 'a', '顧客/7/請求書.txt': 'b' } } },
  );
});

test('descriptions name what is granted', () => {
  const words = (params: JsonObject) => describe(plan(params), settings, []).summary[0];
  assert.equal(
    words(s3({ prefix: 'customers/42/' })),
    'Read and list objects under customers/42/ in the S3 bucket orders',
  );
  assert.equal(
    words(s3({ key: 'a.txt', access: 'read_write' })),
    'Read and write the one object a.txt in the S3 bucket orders',
  );
  assert.equal(words(s3({ access: 'delete' })), 'Delete every object in the S3 bucket orders');
  assert.equal(
    words({ service: 'dynamodb', region: 'eu-west-1', access: 'read', table: 'invoices' }),
    'Read all items in the DynamoDB table invoices (eu-west-1)',
  );
});

test('fewer actions, ARNs and statements are narrower; other ones, and a statement without its denial, are not', () => {
  const one = { actions: ['s3:GetObject', 's3:Get*'], resources: ['arn:aws:s3:::orders/a', 'arn:aws:s3:::orders/b'] };
  const two = { actions: ['sqs:SendMessage'], resources: ['arn:aws:sqs:eu-west-1:111122223333:orders'] };
  const custom = (...statements: JsonObject[]) => plan({ service: 'custom', statements });
  const whole = custom(one, two);
  for (const less of [
    custom(one),
    custom(two),
    custom({ ...one, actions: ['s3:GetObject'] }, two),
    custom({ ...one, resources: ['arn:aws:s3:::orders/b'] }),
  ]) {
    assert.ok(narrower(less, whole));
    assert.equal(narrower(whole, less), false);
  }
  for (const other of [
    custom({ ...one, actions: ['s3:PutObject'] }),
    custom({ ...one, resources: ['arn:aws:s3:::orders/c'] }),
    custom({ actions: one.actions, resource_beginnings: ['arn:aws:s3:::orders/a'] }),
    custom({ actions: one.actions, resources: two.resources }),
  ])
    assert.equal(narrower(other, whole), false);
  const { session_policy, ...rest } = whole.permission as AwsPermission;
  const bare = { ...session_policy, Statement: session_policy.Statement.filter(({ Effect }) => Effect === 'Allow') };
  assert.equal(narrower({ ...whole, permission: { ...rest, session_policy: bare } }, whole), false);
  const keyed = (leading_key?: string) =>
    plan({
      service: 'dynamodb',
      region: 'eu-west-1',
      access: 'read',
      table: 'invoices',
      ...(leading_key === undefined ? {} : { leading_key }),
    });
  assert.equal(narrower(keyed(), keyed('42')), false, 'without its condition');
});
