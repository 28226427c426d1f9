/**
 * HTTPS_PROXY: each provider's client, and who fetches an issuer's keys, reaches hosts that only the proxy
 * can reach, behind certificates of a private authority. Real sockets throughout.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { useProxies } from '../broker/core/proxies.ts';
import { openKeyResolver } from '../broker/identity/jwks.ts';
import { type AwsHarness, agentRole, awsBench, readObject } from '../providers/aws/harness.test-support.ts';
import { createAwsProvider } from '../providers/aws/index.ts';
import { type GcpHarness, gcpBench, lease, storage } from '../providers/gcp/harness.test-support.ts';
import {
  type GithubHarness,
  issueWith,
  providerFor,
  readOrders,
  startHarness,
  targetOf,
} from '../providers/github/harness.test-support.ts';
import { type CompanyNetwork, startCompanyNetwork } from './proxy.test-support.ts';

let github: GithubHarness;
let aws: AwsHarness;
let gcp: GcpHarness;
let network: CompanyNetwork;
let direct: () => void;
const trusted = getCACertificates('default');
before(async () => {
  github = await startHarness();
  aws = await awsBench();
  gcp = await gcpBench();
  network = await startCompanyNetwork({
    'github.sandbox.test': github.sandbox.url,
    'aws.sandbox.test': aws.sandbox.url,
    'google.sandbox.test': gcp.sandbox.url,
    'keys.sandbox.test': aws.issuer.url,
  });
});
after(async () => {
  network.close();
  await Promise.all([github.sandbox.close(), aws.close(), gcp.close()]);
});
beforeEach(() => {
  network.connected.length = 0;
  setDefaultCACertificates([...trusted, network.ca]);
  direct = useProxies({ HTTPS_PROXY: network.proxyUrl });
});
afterEach(() => {
  direct();
  setDefaultCACertificates(trusted);
});
const never = new AbortController().signal;
const only = (host: string) => {
  assert.ok(network.connected.length > 0, 'the proxy was asked');
  assert.deepEqual([...new Set(network.connected)], [`${host}:443`]);
};

test('GitHub: a token is minted, used to read the state, and deleted', async () => {
  const provider = providerFor({ url: 'https://github.sandbox.test' }, github.clock);
  const issued = await issueWith({ ...github, provider }, readOrders);
  const [outcome] = await provider.revoke([targetOf({ ...github, provider }, issued)], [], never);
  assert.equal(outcome?.state, 'revoked');
  assert.ok(await provider.state!(provider.plan(provider.params.parse(readOrders), 900), never));
  assert.equal(github.sandbox.liveTokens(), 0);
  only('github.sandbox.test');
});

test('AWS: STS, IAM and S3', async () => {
  const behind = createAwsProvider({ ...aws.settings, AWS_ENDPOINT_URL: 'https://aws.sandbox.test' }, aws.deps);
  const params = { role: agentRole, service: 's3', bucket: 'orders', access: 'read', prefix: 'customers/42/' };
  const plan = behind.plan(behind.params.parse(params), 900);
  const issued = await behind.issue({ ...lease(), leaseId: 'lse_proxied', plan });
  assert.equal(await readObject(aws, issued.credential, 'customers/42/a.txt'), 'accepted');
  assert.ok(await behind.state!(plan, never));
  const target = {
    leaseId: 'lse_proxied',
    plan,
    handle: issued.handle,
    secret: null,
    reserved: null,
    intentAt: aws.clock.now(),
    providerExpiresAt: issued.providerExpiresAt,
    settlingSince: null,
  };
  const [outcome] = await behind.revoke([target], [target], never);
  assert.equal(outcome?.state, 'settling');
  assert.deepEqual(await behind.findLimits!(never), []);
  only('aws.sandbox.test');
});

test('Google: federation, minting, the boundary, IAM and the state', async () => {
  const url = 'https://google.sandbox.test';
  const provider = gcp.make({
    WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: url,
    WRIT_GCP_STS_ENDPOINT: url,
    WRIT_GCP_IAM_ENDPOINT: url,
    WRIT_GCP_STORAGE_ENDPOINT: url,
  });
  const plan = provider.plan(provider.params.parse({ bucket: 'orders', prefix: 'customers/42/' }), 900);
  const reserved = provider.pool!(plan)![0]!;
  const { credential, handle, providerExpiresAt } = await provider.issue({ ...lease(), plan, reserved });
  assert.equal(await storage(gcp.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt'), 200);
  assert.ok(await provider.state!(plan, never));
  const at = { leaseId: 'lse_1', plan, secret: null, intentAt: gcp.clock.now(), settlingSince: null };
  const [outcome] = await provider.revoke([{ ...at, handle, reserved, providerExpiresAt }], [], never);
  assert.equal(outcome?.state, 'settling');
  only('google.sandbox.test');
});

test('an issuer’s keys, by the machine’s authorities and by one of the issuer’s own', async () => {
  const location = { kind: 'jwks_uri', url: 'https://keys.sandbox.test/jwks' } as const;
  const source = { id: 'own', name: 'issuers[0]', location, algorithms: ['ES256'], allowInsecureLoopback: false };
  const find = (ca: string | null) =>
    openKeyResolver({ clock: aws.clock }).resolve({ ...source, ca } as never, { alg: 'ES256', kid: 'k1' });
  assert.equal((await find(null)).key.type, 'public');
  setDefaultCACertificates(trusted);
  assert.equal((await find(network.ca)).key.type, 'public');
  only('keys.sandbox.test');
});

test('whom NO_PROXY names is asked directly, and a proxy that refuses is no way out', async () => {
  direct();
  direct = useProxies({ HTTPS_PROXY: network.proxyUrl, NO_PROXY: 'sandbox.test' });
  const provider = providerFor({ url: 'https://github.sandbox.test' }, github.clock);
  await assert.rejects(issueWith({ ...github, provider }, readOrders), { providerCode: 'ENOTFOUND' });
  assert.deepEqual(network.connected, []);
  direct();
  direct = useProxies({ HTTPS_PROXY: network.proxyUrl.replace('writ:pass', 'writ:wrong') });
  const refused = await issueWith({ ...github, provider }, { ...readOrders, installation_id: 77 }).catch(
    (error) => error,
  );
  assert.deepEqual([refused.code, refused.mayHaveMinted], ['upstream_unavailable', false], 'nothing left this network');
  assert.deepEqual(network.connected, []);
});
