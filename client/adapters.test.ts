/** The real SDKs take grants, and the counterparts enforce what was granted. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { IAMCredentialsClient } from '@google-cloud/iam-credentials';
import { credentials } from '@grpc/grpc-js';
import { Octokit } from '@octokit/rest';
import { OAuth2Client } from 'google-auth-library';
import { type Harness, openHarness } from './broker.test-support.ts';
import {
  awsCredentials,
  awsCredentialsOf,
  type Clock,
  googleAuthClient,
  octokitAuth,
  octokitOptions,
  renewing,
  type Session,
  WritError,
} from './index.ts';

let harness: Harness;
let session: Session;
before(async () => {
  harness = await openHarness();
  session = await harness.open();
});
after(() => harness.close());

const code = (expected: string) => (error: unknown) => error instanceof WritError && error.code === expected;
const status = (expected: number) => (error: unknown) => (error as { status?: number }).status === expected;
const capabilities = { aws: 'read-customer-files', github: 'read-repository', gcp: 'read-archive' };

describe('the AWS SDK', () => {
  const s3 = (given: ReturnType<typeof awsCredentials> | ReturnType<typeof awsCredentialsOf>) =>
    new S3Client({ region: 'us-east-1', endpoint: harness.aws.url, forcePathStyle: true, credentials: given });
  const read = async (client: S3Client, customer: number) => {
    const Key = `customers/${customer}/invoice.txt`;
    const { Body } = await client.send(new GetObjectCommand({ Bucket: 'orders', Key }));
    return Body?.transformToString();
  };

  it('takes a grant, and no more than the grant', async () => {
    const client = s3(awsCredentialsOf(await session.grant(capabilities.aws)));
    assert.equal(await read(client, 42), 'Invoice 42');
    await assert.rejects(read(client, 43), { name: 'AccessDenied' });
  });

  it('takes a provider, which asks when the credential is first needed and keeps it', async () => {
    const asked = () => harness.front.seen.filter(({ path }) => path === '/v1/grants').length;
    const before = asked();
    const client = s3(awsCredentials(session, capabilities.aws, {}, { ttlSeconds: 120 }));
    assert.equal(asked(), before);
    assert.deepEqual(await Promise.all([read(client, 42), read(client, 42)]), ['Invoice 42', 'Invoice 42']);
    // The SDK asks for credentials anew at each call in their last five minutes; that is not a grant each
    // time.
    assert.equal(await read(client, 42), 'Invoice 42');
    assert.equal(asked(), before + 1);
  });

  it('is refused by AWS once the session has ended, and gets no more from the provider', async () => {
    const own = await harness.open();
    const grant = await own.grant(capabilities.aws);
    const client = s3(awsCredentialsOf(grant));
    const renewed = s3(awsCredentials(own, capabilities.aws, {}, { ttlSeconds: 120 }));
    assert.equal(await read(client, 42), 'Invoice 42');
    assert.equal(await read(renewed, 42), 'Invoice 42');
    const { leases } = await own.end({ waitSeconds: 20 });
    assert.deepEqual(
      leases.map((lease) => lease.status),
      ['revoked', 'revoked'],
    );
    await assert.rejects(read(client, 42), { name: 'AccessDenied' });
    await assert.rejects(read(renewed, 42), code('session_ended'));
  });
});

describe('renewing', () => {
  it('asks anew when little is left, on order, and again after a failure', async () => {
    let now = Date.now();
    const clock: Clock = { now: () => new Date(now), sleep: async () => {} };
    const current = renewing(session, capabilities.aws, {}, { type: 'aws', ttlSeconds: 600, clock });
    const first = await current();
    assert.equal((await current()).id, first.id);
    now += 530_000;
    assert.equal((await current()).id, first.id);
    now += 30_000;
    const second = await current();
    assert.notEqual(second.id, first.id);
    assert.notEqual((await current({ forceRefresh: true })).id, second.id);

    harness.aws.fault('AssumeRoleWithWebIdentity', { code: 'AccessDenied', status: 403 });
    await assert.rejects(current({ forceRefresh: true }), code('provider_refused'));
    harness.aws.fault('AssumeRoleWithWebIdentity', null);
    assert.ok((await current({ forceRefresh: true })).id);
  });
});

describe('Octokit', () => {
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
  const file = { owner: 'example-org', repo: 'invoices', path: 'docs/hello.txt' };
  const write = { ...file, path: 'docs/new.txt', message: 'no', content: 'bm8=' };

  it('takes a grant, and no more than the grant', async () => {
    const grant = await session.grant(capabilities.github, {}, { type: 'github' });
    const octokit = new Octokit({ ...octokitOptions(grant), log });
    const { data } = await octokit.rest.repos.getContent(file);
    assert.equal(Buffer.from((data as { content: string }).content, 'base64').toString(), 'hello');
    assert.equal(
      (await new Octokit({ authStrategy: octokitAuth(grant), log }).rest.repos.getContent(file)).status,
      200,
    );
    await assert.rejects(octokit.rest.repos.createOrUpdateFileContents(write), status(403));
    await assert.rejects(octokit.rest.repos.get({ owner: 'example-org', repo: 'vault' }), status(404));
  });

  it('takes a renewing grant as its strategy, and is refused by GitHub after the session', async () => {
    const own = await harness.open();
    const grant = await own.grant(capabilities.github, {}, { type: 'github' });
    const strategy = octokitAuth(renewing(own, capabilities.github, {}, { type: 'github' }));
    const renewed = new Octokit({ authStrategy: strategy, log });
    assert.equal((await renewed.rest.repos.getContent(file)).status, 200);
    assert.equal(((await renewed.auth()) as { type: string }).type, 'token');
    await own.end({ waitSeconds: 20 });
    await assert.rejects(new Octokit({ ...octokitOptions(grant), log }).rest.repos.getContent(file), status(401));
    await assert.rejects(renewed.rest.repos.getContent(file), code('session_ended'));
  });
});

describe('Google’s clients', () => {
  const object = (customer: number) =>
    `${harness.gcp.url}/storage/v1/b/archive/o/${encodeURIComponent(`customers/${customer}/old.txt`)}?alt=media`;
  const read = async (client: OAuth2Client, customer: number) =>
    (await client.request<string>({ url: object(customer), responseType: 'text', retry: false })).data;
  const response = (expected: number) => (error: unknown) =>
    (error as { response?: { status: number } }).response?.status === expected;

  it('take a grant, and no more than the grant', async () => {
    await using own = await harness.open();
    // Shorter than the five minutes before its end at which the class would want another token.
    const grant = await own.grant(capabilities.gcp, {}, { type: 'gcp', ttlSeconds: 120 });
    const client = await googleAuthClient(grant, { OAuth2Client });
    assert.equal(await read(client, 42), 'old 42');
    await assert.rejects(read(client, 43), response(403));
    await own.end({ waitSeconds: 20 });
    await assert.rejects(read(client, 42), response(401));
  });

  it('take a renewing grant', async () => {
    await using own = await harness.open();
    const asked = () => harness.front.seen.filter(({ path }) => path === '/v1/grants').length;
    const client = await googleAuthClient(renewing(own, capabilities.gcp, {}, { type: 'gcp' }), { OAuth2Client });
    assert.equal(await read(client, 42), 'old 42');
    const before = asked();
    client.credentials.expiry_date = 1;
    // Its own idea of the end is wrong; `renewing` knows better.
    assert.equal(await read(client, 42), 'old 42');
    assert.equal(asked(), before);
    await own.end();
    client.credentials.expiry_date = 1;
    await assert.rejects(read(client, 42), code('session_ended'));
  });

  it('carry it over gRPC: known to Google, allowed no more than granted', async () => {
    await using own = await harness.open();
    const authClient = await googleAuthClient(await own.grant(capabilities.gcp), { OAuth2Client });
    const call = async () => {
      const client = new IAMCredentialsClient({
        apiEndpoint: '127.0.0.1',
        port: harness.gcp.grpcPort,
        // biome-ignore lint/suspicious/noExplicitAny: google-gax carries an older copy of the same class
        authClient: authClient as any,
        sslCreds: credentials.createInsecure(),
      });
      const name = 'projects/-/serviceAccounts/writ-2@demo-project.iam.gserviceaccount.com';
      // On a connection without TLS the library sends no credentials by itself.
      const headers = Object.fromEntries((await authClient.getRequestHeaders()).entries());
      try {
        await client.generateAccessToken(
          { name, scope: ['https://www.googleapis.com/auth/cloud-platform'] },
          { otherArgs: { headers }, retry: null },
        );
      } finally {
        await client.close();
      }
    };
    // gRPC code 7 is PERMISSION_DENIED, 16 UNAUTHENTICATED.
    await assert.rejects(call(), { code: 7 });
    await own.end({ waitSeconds: 20 });
    await assert.rejects(call(), { code: 16 });
  });
});

it('a grant of one provider is refused by the adapters of the others', async () => {
  const grant = await session.grant(capabilities.github);
  assert.throws(() => awsCredentialsOf(grant), code('wrong_credential'));
  await assert.rejects(googleAuthClient(grant, { OAuth2Client }), code('wrong_credential'));
  assert.throws(() => octokitOptions({ ...grant, credential: { type: 'gcp' } } as never), code('wrong_credential'));
});
