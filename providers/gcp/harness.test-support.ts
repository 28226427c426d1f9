/**
 * For the tests in this folder: the provider, wired to the sandbox through a real issuer with a real JWKS
 * over HTTP.
 */
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { manualClock } from '../../broker/core/clock.ts';
import { type GcpSandbox, type GcpSandboxOptions, startGcpSandbox } from '../../sandbox/gcp/server.ts';
import type { Clock, Issued, JsonObject, Plan, Provider, ProviderDeps } from '../contract.ts';
import { gcp } from './index.ts';

export const poolAccounts = ['writ-1', 'writ-2', 'writ-3', 'writ-4', 'writ-5'].map(
  (name) => `${name}@demo-project.iam.gserviceaccount.com`,
);
export const sharedAccount = 'reports@demo-project.iam.gserviceaccount.com';
const grantedRoles = [
  { bucket: 'orders', role: 'roles/storage.objectAdmin' },
  { bucket: 'archive', role: 'roles/storage.objectAdmin' },
];

export interface GcpHarness {
  sandbox: GcpSandbox;
  provider: Provider;
  clock: ReturnType<typeof manualClock>;
  identityTokens: string[];
  /** A valid identity token of the broker for the workload identity provider. */
  identity(): Promise<string>;
  make(environment: { [name: string]: string }): Provider;
  plan(params: unknown, ttlSeconds?: number): Plan;
  issue(plan: Plan, member?: number): Promise<Issued>;
  close(): Promise<void>;
}

export async function gcpBench(
  environment: { [name: string]: string } = {},
  overrides: Partial<GcpSandboxOptions> = {},
): Promise<GcpHarness> {
  const clock = manualClock(new Date('2026-03-01T12:00:00Z'));
  const issuer = await startIssuer(clock);
  const sandbox = await startGcpSandbox({
    clock,
    issuers: { [issuer.url]: `${issuer.url}/jwks.json` },
    serviceAccounts: [...poolAccounts, sharedAccount].map((email) => ({ email, storage: grantedRoles })),
    buckets: {
      orders: { 'customers/42/a.txt': 'forty-two', 'customers/43/a.txt': 'forty-three' },
      archive: { 'old.txt': 'old' },
    },
    ...overrides,
  });
  const make = (more: { [name: string]: string }) => {
    const grpc = { ...environment, ...more }.WRIT_GCP_TRANSPORT === 'grpc';
    const settings = gcp.settings.parse({
      GOOGLE_CLOUD_PROJECT: 'demo-project',
      WRIT_GCP_SERVICE_ACCOUNTS: poolAccounts.join(','),
      WRIT_GCP_SHARED_SERVICE_ACCOUNTS: sharedAccount,
      WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: sandbox.provider,
      WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: grpc ? `http://127.0.0.1:${sandbox.grpcPort}` : sandbox.url,
      WRIT_GCP_STS_ENDPOINT: sandbox.url,
      WRIT_GCP_IAM_ENDPOINT: sandbox.url,
      WRIT_GCP_STORAGE_ENDPOINT: sandbox.url,
      ...environment,
      ...more,
    });
    return gcp.create(settings, { clock, signIdentityToken: issuer.sign });
  };
  const provider = make({});
  return {
    sandbox,
    provider,
    clock,
    identityTokens: issuer.signed,
    identity: () => issuer.sign({ sub: 'writ-broker', aud: `https://iam.googleapis.com/${sandbox.provider}` }, 300),
    make,
    plan: (params, ttlSeconds = 900) => provider.plan(provider.params.parse(params), ttlSeconds),
    issue: (plan, member = 0) => {
      const reserved = provider.pool?.(plan)?.[member];
      return provider.issue({ ...lease(), plan, ...(reserved === undefined ? {} : { reserved }) });
    },
    close: async () => {
      await sandbox.close();
      await issuer.close();
    },
  };
}

export const lease = (signal = new AbortController().signal) => ({
  leaseId: `lease-${randomUUID()}`,
  sessionId: 'ses_1',
  agent: 'invoice-bot',
  signal,
});

/** Reads, lists or writes in Cloud Storage with a credential; the HTTP status. */
export async function storage(
  sandbox: GcpSandbox,
  credential: JsonObject,
  method: 'GET' | 'LIST' | 'PUT',
  bucket: string,
  name: string,
): Promise<number> {
  const encoded = encodeURIComponent(name);
  const url = {
    GET: `${sandbox.url}/storage/v1/b/${bucket}/o/${encoded}?alt=media`,
    LIST: `${sandbox.url}/storage/v1/b/${bucket}/o?prefix=${encoded}`,
    PUT: `${sandbox.url}/upload/storage/v1/b/${bucket}/o?uploadType=media&name=${encoded}`,
  }[method];
  const headers = { authorization: `Bearer ${credential.access_token}` };
  const response = await fetch(url, method === 'PUT' ? { method: 'POST', headers, body: 'new' } : { headers });
  await response.arrayBuffer();
  return response.status;
}

/**
 * The broker's issuer as far as federation sees it: a JWKS over HTTP, and tokens signed with ES256 by the
 * injected clock.
 */
async function startIssuer(clock: Clock) {
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256', use: 'sig' }] };
  const server = createServer((_request, response) =>
    response.setHeader('content-type', 'application/json').end(JSON.stringify(jwks)),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const signed: string[] = [];
  const sign: ProviderDeps['signIdentityToken'] = async (claims, ttlSeconds) => {
    const now = Math.floor(clock.now().getTime() / 1000);
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .setIssuer(url)
      .setIssuedAt(now)
      .setExpirationTime(now + ttlSeconds)
      .setJti(randomUUID())
      .sign(privateKey);
    signed.push(token);
    return token;
  };
  return {
    url,
    sign,
    signed,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
