/**
 * The counterpart refuses what AWS refuses: each test is a caller who should fail, beside one who should not.
 */
import assert from 'node:assert/strict';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { GetObjectCommand, HeadObjectCommand, ListObjectsV2Command, S3Client } from '@aws-sdk/client-s3';
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { manualClock } from '../../broker/core/clock.ts';
import type { JsonObject } from '../../broker/core/vocabulary.ts';
import type { PolicyDocument } from './policy.ts';
import { type AwsSandboxOptions, startAwsSandbox } from './start.ts';

const role = 'arn:aws:iam::111122223333:role/orders';
const user = { accessKeyId: 'AKIAUSER000000000000', secretAccessKey: 'a-long-lived-secret' };
const allow = (Action: string | string[], Resource: string): PolicyDocument => ({
  Statement: { Effect: 'Allow', Action, Resource },
});

async function world(options: Partial<AwsSandboxOptions> = {}) {
  const clock = manualClock(new Date(Math.floor(Date.now() / 1000) * 1000));
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  const published = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }], status: 200 };
  const jwks = createServer((_, response) =>
    response.writeHead(published.status).end(JSON.stringify({ keys: published.keys })),
  );
  await new Promise<void>((resolve) => jwks.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(jwks.address() as AddressInfo).port}`;
  const host = issuer.slice('http://'.length);
  const trust: PolicyDocument = {
    Statement: [
      {
        Effect: 'Allow',
        Principal: { Federated: `arn:aws:iam::111122223333:oidc-provider/${host}` },
        Action: ['sts:AssumeRoleWithWebIdentity', 'sts:TagSession', 'sts:SetSourceIdentity'],
        Condition: { StringEquals: { [`${host}:sub`]: 'agent:a', [`${host}:aud`]: 'sts.amazonaws.com' } },
      },
      { Effect: 'Allow', Principal: { AWS: 'arn:aws:iam::111122223333:root' }, Action: 'sts:AssumeRole' },
    ],
  };
  const sandbox = await startAwsSandbox({
    clock,
    issuers: { [issuer]: issuer },
    roles: [{ arn: role, trust, policies: [allow('s3:*', '*')], maxSessionSeconds: 7200 }],
    users: [{ arn: 'arn:aws:iam::111122223333:user/u', ...user, policies: [allow(['sts:*', 'iam:*'], '*')] }],
    buckets: { b: { 'in/1': 'one', 'in/2': 'two', 'in/sub/3': 'three', 'out/4': 'four' } },
    ...options,
  });
  const token = (claims: JsonObject = {}, key: CryptoKey = privateKey) => {
    const now = Math.floor(clock.now().getTime() / 1000);
    const payload = { iss: issuer, aud: 'sts.amazonaws.com', sub: 'agent:a', iat: now, exp: now + 60, ...claims };
    return new SignJWT(payload).setProtectedHeader({ alg: 'ES256', kid: 'k' }).sign(key);
  };
  const assume = async (form: Record<string, string>, jwt?: string) => {
    const body = new URLSearchParams({
      Action: 'AssumeRoleWithWebIdentity',
      Version: '2011-06-15',
      RoleArn: role,
      RoleSessionName: 'lse_x',
      WebIdentityToken: jwt ?? (await token()),
      ...form,
    });
    const response = await fetch(sandbox.url, { method: 'POST', body });
    const text = await response.text();
    const field = (tag: string) => new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(text)?.[1];
    return {
      code: field('Code') ?? 'ok',
      credentials: {
        accessKeyId: field('AccessKeyId') ?? '',
        secretAccessKey: field('SecretAccessKey') ?? '',
        sessionToken: field('SessionToken') ?? '',
      },
    };
  };
  const client = <T>(make: new (config: object) => T, credentials: object, more: object = {}): T =>
    new make({
      region: 'eu-west-1',
      endpoint: sandbox.url,
      credentials,
      maxAttempts: 1,
      forcePathStyle: true,
      ...more,
    });
  const close = async () => {
    await sandbox.close();
    await new Promise((resolve) => jwks.close(resolve));
  };
  return { clock, sandbox, issuer, published, token, assume, client, close };
}

test('web identity tokens are verified against the issuer’s keys, and the trust policy is obeyed', async () => {
  const w = await world();
  const stranger = (await generateKeyPair('ES256')).privateKey;
  const now = Math.floor(w.clock.now().getTime() / 1000);
  const code = async (jwt: Promise<string>) => (await w.assume({}, await jwt)).code;
  assert.equal(await code(w.token()), 'ok');
  assert.equal(await code(w.token({}, stranger)), 'InvalidIdentityToken');
  assert.equal(await code(w.token({ aud: 'another' })), 'InvalidIdentityToken');
  assert.equal(await code(w.token({ iss: 'http://elsewhere.example' })), 'InvalidIdentityToken');
  assert.equal(await code(w.token({ exp: now - 60 })), 'ExpiredTokenException');
  assert.equal(await code(w.token({ sub: 'agent:b' })), 'AccessDenied');
  assert.equal(await code(Promise.resolve('not-a-token')), 'InvalidIdentityToken');
  const none = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${(await w.token()).split('.')[1]}.`;
  assert.equal(await code(Promise.resolve(none)), 'InvalidIdentityToken');
  assert.equal(await code(w.token({ 'https://aws.amazon.com/source_identity': 'a b' })), 'InvalidIdentityToken');
  w.published.status = 503;
  assert.equal(await code(w.token()), 'IDPCommunicationError');
  await w.close();
});

test('limits of AssumeRole*: duration, role maximum, session name, policy', async () => {
  const w = await world();
  const code = async (form: Record<string, string>) => (await w.assume(form)).code;
  const padded = (length: number) => JSON.stringify(allow('s3:*', '*')).padEnd(length, ' ');
  assert.equal(await code({ DurationSeconds: '899' }), 'ValidationError');
  assert.equal(await code({ DurationSeconds: '900' }), 'ok');
  assert.equal(await code({ DurationSeconds: '7200' }), 'ok');
  assert.equal(await code({ DurationSeconds: '7201' }), 'ValidationError');
  assert.equal(await code({ DurationSeconds: '43201' }), 'ValidationError');
  assert.equal(await code({ Policy: padded(2048) }), 'ok');
  assert.equal(await code({ Policy: padded(2049) }), 'ValidationError');
  assert.equal(await code({ Policy: '{"Statement":[{"Effect":"Allow"}]}' }), 'MalformedPolicyDocument');
  assert.equal(await code({ RoleSessionName: 'with space' }), 'ValidationError');
  assert.equal(await code({ RoleArn: 'arn:aws:iam::111122223333:role/none' }), 'AccessDenied');
  await w.close();
});

test('a session is what its token says: forged, tampered, stale and expired requests are refused', async () => {
  const w = await world();
  const { credentials } = await w.assume({});
  const read = (given: object, more: object = {}) =>
    w.client(S3Client, given, more).send(new GetObjectCommand({ Bucket: 'b', Key: 'in/1' }));
  assert.equal(await (await read(credentials)).Body?.transformToString(), 'one');
  await assert.rejects(read({ ...credentials, secretAccessKey: 'guess' }), { name: 'SignatureDoesNotMatch' });
  await assert.rejects(read({ ...credentials, sessionToken: 'guess' }), { name: 'InvalidToken' });
  await assert.rejects(read({ accessKeyId: credentials.accessKeyId, secretAccessKey: credentials.secretAccessKey }), {
    name: 'InvalidToken',
  });
  await assert.rejects(read({ ...credentials, accessKeyId: 'ASIAGUESS00000000000' }), { name: 'InvalidAccessKeyId' });
  await assert.rejects(read(credentials, { systemClockOffset: -16 * 60_000 }), { name: 'RequestTimeTooSkewed' });
  assert.equal((await fetch(`${w.sandbox.url}/b/in/1`)).status, 403);
  w.clock.advance(3_600_000);
  await assert.rejects(read(credentials, { systemClockOffset: 3_600_000 }), { name: 'ExpiredToken' });
  await w.close();
});

test('a signed request cannot be pointed at another object', async () => {
  const w = await world();
  const { credentials } = await w.assume({});
  const s3 = w.client(S3Client, credentials);
  let headers: Record<string, string> = {};
  s3.middlewareStack.add(
    (next) => async (args) => {
      headers = (args.request as { headers: Record<string, string> }).headers;
      return next(args);
    },
    { step: 'finalizeRequest', priority: 'low' },
  );
  await s3.send(new GetObjectCommand({ Bucket: 'b', Key: 'in/1' }));
  const replay = (path: string) =>
    new Promise((resolve) => {
      httpRequest(`${w.sandbox.url}${path}`, { headers }, (response) => resolve(response.resume().statusCode)).end();
    });
  assert.equal(await replay('/b/out/4?x-id=GetObject'), 403);
  assert.equal(await replay('/b/in/1?x-id=GetObject'), 200);
  await w.close();
});

test('session policy ∩ role policy, listings, and what a caller may not know', async () => {
  const w = await world();
  const policy: PolicyDocument = {
    Version: '2012-10-17',
    Statement: [
      { Effect: 'Allow', Action: 's3:GetObject', Resource: 'arn:aws:s3:::b/in/*' },
      {
        Effect: 'Allow',
        Action: ['s3:ListBucket', 'iam:*'],
        Resource: '*',
        Condition: { StringLike: { 's3:prefix': 'in/*' } },
      },
    ],
  };
  const { credentials } = await w.assume({ Policy: JSON.stringify(policy) });
  const s3 = w.client(S3Client, credentials);
  const listed = await s3.send(new ListObjectsV2Command({ Bucket: 'b', Prefix: 'in/', Delimiter: '/', MaxKeys: 1 }));
  assert.deepEqual(
    [listed.Contents?.map((each) => each.Key), listed.CommonPrefixes, listed.IsTruncated],
    [['in/1'], [{ Prefix: 'in/sub/' }], true],
  );
  await assert.rejects(s3.send(new ListObjectsV2Command({ Bucket: 'b' })), { name: 'AccessDenied' });
  assert.equal((await s3.send(new HeadObjectCommand({ Bucket: 'b', Key: 'in/1' }))).ContentLength, 3);
  await assert.rejects(s3.send(new GetObjectCommand({ Bucket: 'b', Key: 'in/none' })), { name: 'AccessDenied' });
  const all = w.client(S3Client, (await w.assume({})).credentials);
  await assert.rejects(all.send(new GetObjectCommand({ Bucket: 'b', Key: 'in/none' })), { name: 'NoSuchKey' });
  const iam = w.client(IAMClient, credentials);
  const put = new PutRolePolicyCommand({ RoleName: 'orders', PolicyName: 'p', PolicyDocument: JSON.stringify(policy) });
  await assert.rejects(iam.send(put), { name: 'AccessDenied' }, 'the role does not allow what its session policy does');
  await w.close();
});

test('a changed role policy is enforced after the lag, shown at once, and limited in size', async () => {
  const w = await world({ denyLagMs: 5_000 });
  const { credentials } = await w.assume({});
  const read = () => w.client(S3Client, credentials).send(new GetObjectCommand({ Bucket: 'b', Key: 'in/1' }));
  const iam = w.client(IAMClient, user);
  const deny = JSON.stringify({ Statement: { Effect: 'Deny', Action: '*', Resource: '*' } });
  const put = (PolicyDocument: string) =>
    iam.send(new PutRolePolicyCommand({ RoleName: 'orders', PolicyName: 'p', PolicyDocument }));
  await put(deny);
  assert.equal(w.sandbox.inlinePolicies(role).p, deny);
  await read();
  w.clock.advance(5_000);
  await assert.rejects(read(), { name: 'AccessDenied' });
  const sized = (characters: number) => JSON.stringify(allow('s3:*', `arn:aws:s3:::${'x'.repeat(characters)}`));
  const overhead = sized(0).length;
  await put(sized(10_240 - overhead));
  await assert.rejects(put(sized(10_241 - overhead)), { name: 'LimitExceededException' });
  await w.close();
});

test('signed AssumeRole and GetCallerIdentity', async () => {
  const w = await world();
  const sts = w.client(STSClient, user);
  assert.equal((await sts.send(new GetCallerIdentityCommand({}))).Arn, 'arn:aws:iam::111122223333:user/u');
  const asked = { RoleArn: role, RoleSessionName: 'lse_y' };
  const session = await sts.send(new AssumeRoleCommand(asked));
  assert.equal(session.AssumedRoleUser?.Arn, 'arn:aws:sts::111122223333:assumed-role/orders/lse_y');
  const tagged = new AssumeRoleCommand({ ...asked, SourceIdentity: 'lse_y' });
  await assert.rejects(sts.send(tagged), { name: 'AccessDenied' }, 'SetSourceIdentity is not in the trust policy');
  const guess = w.client(STSClient, { ...user, secretAccessKey: 'guess' });
  await assert.rejects(guess.send(new GetCallerIdentityCommand({})), { name: 'SignatureDoesNotMatch' });
  await w.close();
});
