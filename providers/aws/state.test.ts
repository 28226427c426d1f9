/** What is read of S3 and of the role, with how little, and what cannot be read. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type JsonObject, ProviderError } from '../contract.ts';
import { denialPolicyName } from './denial.ts';
import { type AwsHarness, account, agentRole, withBench } from './harness.test-support.ts';

const never = () => new AbortController().signal;
const s3 = { role: agentRole, service: 's3', access: 'read', bucket: 'orders' };
const one = { ...s3, access: 'get', key: 'customers/42/a.txt' };
const table = {
  role: agentRole,
  service: 'dynamodb',
  region: 'eu-west-1',
  access: 'read',
  table: 'invoices',
};

const planOf = ({ provider }: AwsHarness, params: unknown) => provider.plan(provider.params.parse(params), 900);
const read = (harness: AwsHarness, params: unknown) => harness.provider.state!(planOf(harness, params), never());
const objectsOf = async (harness: AwsHarness, params: unknown) => (await read(harness, params)).objects as JsonObject;
const wordsOf = (harness: AwsHarness, params: unknown, seen: JsonObject) =>
  harness.provider.describe({ ...planOf(harness, params), state: { round: 0, seen } }).summary.slice(2);
const allow = (actions: string[], resource = '*') => ({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow' as const, Action: actions, Resource: [resource] }],
});

test('the session that reads may look at this alone, and for a minute', async () => {
  await withBench(async (harness) => {
    const { sandbox, clock } = harness;
    await read(harness, one);
    await read(harness, { ...s3, prefix: 'customers/42/' });
    const arn = `arn:aws:sts::${account}:assumed-role/writ-orders/writ-state`;
    const opened = sandbox.sessions().filter((session) => session.arn === arn);
    assert.equal(opened.length, 2);
    const reads = opened.map(({ policy }) =>
      [policy?.Statement ?? []].flat().flatMap(({ Effect, Action, Resource, Condition }) => ({
        Effect,
        Action,
        Resource,
        Condition,
      })),
    );
    const end = new Date(clock.now().getTime() + 60_000).toISOString().replace(/\.\d{3}Z$/, 'Z');
    const bounds = [
      { Effect: 'Deny', Action: 'sts:AssumeRole', Resource: '*', Condition: undefined },
      {
        Effect: 'Deny',
        Action: '*',
        Resource: '*',
        Condition: { DateGreaterThanEquals: { 'aws:CurrentTime': end } },
      },
    ];
    const listing = (prefix: string) => ({
      Effect: 'Allow',
      Action: ['s3:ListBucket'],
      Resource: ['arn:aws:s3:::orders'],
      Condition: { StringEquals: { 's3:prefix': prefix } },
    });
    const looking = {
      Effect: 'Allow',
      Action: ['s3:GetObject'],
      Resource: ['arn:aws:s3:::orders/customers/42/a.txt'],
      Condition: undefined,
    };
    assert.deepEqual(reads, [
      [looking, listing('customers/42/a.txt'), ...bounds],
      [listing('customers/42/'), ...bounds],
    ]);
    // The first of that name is the one that looks at an object.
    const may = (action: string, key: string) => sandbox.allows(arn, action, `arn:aws:s3:::orders/${key}`);
    assert.equal(may('s3:GetObject', 'customers/42/a.txt'), true);
    assert.equal(may('s3:GetObject', 'customers/421/b.txt'), false);
    assert.equal(may('s3:PutObject', 'customers/42/a.txt'), false);
    clock.advance(60_000);
    assert.equal(may('s3:GetObject', 'customers/42/a.txt'), false, 'AWS itself ends it');
  });
});

test('one object by its version, where the bucket keeps any, and that there is none', async () => {
  await withBench(
    async (harness) => {
      const { sandbox } = harness;
      const { object: first } = (await objectsOf(harness, one)) as { object: JsonObject };
      assert.match(String(first.version), /^\S{20,}$/);
      // The same content again is another version.
      sandbox.setObject('orders', one.key, 'inside');
      const again = await read(harness, one);
      const { object: second } = again.objects as { object: JsonObject };
      assert.equal(second.etag, first.etag);
      assert.notEqual(second.version, first.version);
      assert.match(wordsOf(harness, one, again)[0]!, new RegExp(`version ${second.version}, 6 bytes, written 20`));
      sandbox.setObject('orders', one.key, null);
      const gone = await read(harness, one);
      assert.deepEqual(gone.objects, { object: null });
      assert.equal(wordsOf(harness, one, gone)[0], `The object ${one.key} in orders as it is: there is none`);
    },
    { sandbox: { versioned: ['orders'] } },
  );
});

test('who may not list a name is not told that it is absent, and nothing is read', async () => {
  await withBench(async (harness) => {
    harness.sandbox.setManagedPolicy(agentRole, 0, allow(['s3:GetObject'], 'arn:aws:s3:::orders/*'));
    assert.ok((await objectsOf(harness, one)).object, 'what is there is read');
    await assert.rejects(read(harness, { ...one, key: 'customers/42/none.txt' }), {
      name: 'ProviderError',
      code: 'upstream_refused',
      retryable: false,
    });
    await assert.rejects(read(harness, s3), { code: 'upstream_refused', providerCode: 'AccessDenied' });
    await assert.rejects(read(harness, { ...s3, bucket: 'no-such-bucket' }), { code: 'upstream_refused' });
  });
});

test('a listing is read whole, page after page, and not beyond 10,000', async () => {
  await withBench(async (harness) => {
    const { sandbox } = harness;
    const put = (n: number, text = 'x') => sandbox.setObject('orders', `many/${String(n).padStart(5, '0')}`, text);
    for (let n = 0; n < 2_500; n += 1) put(n);
    const many = { ...s3, prefix: 'many/' };
    const before = await objectsOf(harness, many);
    assert.deepEqual([before.count, before.bytes], [2_500, 2_500]);
    // On the third page; as many objects, as many bytes, at the same moment.
    put(2_400, 'y');
    const after = await objectsOf(harness, many);
    assert.notEqual(after.listing, before.listing);
    assert.deepEqual({ ...after, listing: before.listing }, before);
    // Beside the prefix nothing counts.
    sandbox.setObject('orders', 'other', 'new');
    assert.deepEqual(await objectsOf(harness, many), after);
    for (let n = 2_500; n < 10_000; n += 1) put(n);
    assert.equal((await objectsOf(harness, many)).count, 10_000);
    put(10_000);
    await assert.rejects(read(harness, many), /More than 10000 objects: no state is read/);
  });
});

test('the role by the versions of what is attached and by its own policies, but for the denials', async () => {
  await withBench(async (harness) => {
    const { sandbox } = harness;
    const before = await read(harness, table);
    const arn = `arn:aws:iam::${account}:policy/writ-orders-0`;
    assert.deepEqual(before, { role: { attached: [{ policy: arn, version: 'v1' }], own: [] } });
    sandbox.setInlinePolicy(agentRole, denialPolicyName, JSON.stringify(allow(['s3:GetObject'])));
    assert.deepEqual(await read(harness, table), before, 'what revoking writes is no change');
    sandbox.setManagedPolicy(agentRole, 0, allow(['dynamodb:*']));
    const wider = await read(harness, table);
    assert.deepEqual(wordsOf(harness, table, wider), [`The role writ-orders as it is: ${arn} at v2 is attached`]);
    sandbox.setInlinePolicy(agentRole, 'more', JSON.stringify(allow(['s3:GetObject'])));
    const own = await read(harness, table);
    assert.match(wordsOf(harness, table, own)[1]!, /its own policy more, SHA-256 [0-9a-f]{12}$/);
    sandbox.setInlinePolicy(agentRole, 'more', JSON.stringify(allow(['s3:PutObject'])));
    assert.notDeepEqual(await read(harness, table), own);
    for (let n = 0; n < 41; n += 1)
      sandbox.setInlinePolicy(agentRole, `p${n}`, JSON.stringify(allow(['s3:GetObject'])));
    await assert.rejects(read(harness, table), /more than 40 policies/);
  });
});

test('without anybody who may read the role, objects alone are read, and of what is no object nothing', async () => {
  await withBench(
    async (harness) => {
      assert.deepEqual(Object.keys(await read(harness, one)), ['objects']);
      const before = harness.sandbox.requests();
      await assert.rejects(read(harness, table), (error: unknown) => {
        assert.ok(error instanceof ProviderError && error.code === 'upstream_refused');
        return /WRIT_AWS_REVOKE_ROLE/.test(error.message);
      });
      assert.equal(harness.sandbox.requests(), before);
    },
    { env: { WRIT_AWS_REVOKE_ROLE: undefined } },
  );
});

test('a name that fits into no session is refused, and foreign names are plain words', async () => {
  await withBench(async (harness) => {
    await assert.rejects(read(harness, { ...one, key: 'k'.repeat(1_000) }), /too long for a session/);
    harness.clock.advance(1_000);
    harness.sandbox.setObject('orders', `customers/42/\u202e${'n'.repeat(300)}`, 'x');
    const params = { ...s3, prefix: 'customers/42/' };
    const [line] = wordsOf(harness, params, await read(harness, params));
    assert.match(line!, /^\P{C}{3,400}$/u);
    assert.match(line!, /the newest customers\/42\/\ufffdn+…n+ written/);
  });
});

test('a clock of AWS’s own is signed by', async () => {
  await withBench(async (harness) => {
    harness.clock.advance(20 * 60_000);
    for (const params of [one, s3]) assert.ok(await read(harness, params));
  });
});

test('a refusal of the session, of the listing or of the role leaves nothing read', async () => {
  await withBench(async (harness) => {
    const denied = { code: 'AccessDenied', status: 403 };
    for (const action of ['AssumeRoleWithWebIdentity', 'S3', 'ListAttachedRolePolicies', 'GetPolicy']) {
      harness.sandbox.fault(action, denied);
      await assert.rejects(read(harness, s3), { name: 'ProviderError', code: 'upstream_refused' }, action);
      harness.sandbox.fault(action, null);
    }
    harness.sandbox.fault('S3', { code: 'SlowDown', status: 503, retryAfterSeconds: 3 });
    await assert.rejects(read(harness, s3), { code: 'upstream_unavailable', retryAfterSeconds: 3 });
  });
});
