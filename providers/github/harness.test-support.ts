/** A provider and its counterpart for tests, on one clock, with everything the process printed. */
import { generateKeyPairSync } from 'node:crypto';
import { Octokit } from '@octokit/rest';
import { manualClock } from '../../broker/core/clock.ts';
import { type GithubSandbox, type GithubSandboxOptions, startGithubSandbox } from '../../sandbox/github/start.ts';
import type { Issued, JsonObject, Provider, RevocationTarget } from '../contract.ts';
import { github } from './index.ts';

export const key = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});

export interface GithubHarness {
  provider: Provider;
  sandbox: GithubSandbox;
  clock: ReturnType<typeof manualClock>;
}

export async function startHarness(
  options: Partial<GithubSandboxOptions> = {},
  environment: Record<string, string> = {},
): Promise<GithubHarness> {
  const clock = manualClock(new Date('2031-03-01T10:00:00.250Z'));
  const sandbox = await startGithubSandbox({
    clock,
    app: { id: 4242, publicKeyPem: key.publicKey },
    accounts: [
      {
        login: 'example-org',
        repositories: [
          { name: 'orders', files: { 'docs/hello.txt': 'hello' } },
          { name: 'billing' },
          { name: 'vault' },
        ],
        installation: {
          id: 77,
          permissions: { contents: 'write', issues: 'write', pull_requests: 'read' },
          repositories: ['orders', 'billing'],
        },
      },
      {
        login: 'example-user',
        type: 'User',
        repositories: [{ name: 'notes' }],
        installation: { id: 78, permissions: { contents: 'read' } },
      },
    ],
    ...options,
  });
  const provider = providerFor(sandbox, clock, environment);
  return { provider, sandbox, clock };
}

export function providerFor(
  { url }: { url: string },
  clock: GithubHarness['clock'],
  environment: Record<string, string> = {},
): Provider {
  const settings = github.settings.parse({
    GITHUB_APP_ID: '4242',
    GITHUB_APP_PRIVATE_KEY: key.privateKey,
    GITHUB_API_URL: url,
    ...environment,
  });
  const signIdentityToken = () => Promise.reject(new Error('GitHub needs no identity token'));
  return github.create(settings, { clock, signIdentityToken });
}

export const readOrders = { owner: 'example-org', repositories: ['orders'], permissions: { contents: 'read' } };

export function issueWith(
  { provider }: GithubHarness,
  params: unknown,
  ttl = 900,
  signal: AbortSignal = new AbortController().signal,
): Promise<Issued> {
  const plan = provider.plan(provider.params.parse(params), ttl);
  return provider.issue({ plan, leaseId: 'lease-1', sessionId: 'ses_1', agent: 'test-bot', signal });
}

export function targetOf(
  { provider, clock }: GithubHarness,
  issued: Issued | null,
  params: unknown = readOrders,
): RevocationTarget {
  const now = clock.now();
  return {
    leaseId: 'lease-1',
    plan: provider.plan(provider.params.parse(params), 900),
    handle: issued?.handle ?? null,
    secret: issued?.secret ?? null,
    reserved: null,
    intentAt: now,
    providerExpiresAt: issued?.providerExpiresAt ?? new Date(now.getTime() + 3_660_000),
    settlingSince: null,
  };
}

/** The real client with the credential as the agent gets it. */
export function octokitWith(credential: JsonObject): Octokit {
  const log = { debug() {}, info() {}, warn() {}, error() {} };
  return new Octokit({ auth: credential.token, baseUrl: String(credential.api_url), log });
}

/** True when GitHub lets the call through; false when it refuses; anything else throws. */
export async function allowed(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    const { status } = error as { status?: number };
    if (status === 401 || status === 403 || status === 404) return false;
    throw error;
  }
}
