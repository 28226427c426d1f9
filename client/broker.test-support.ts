/**
 * For the tests of this folder: a real broker, with the sandbox's AWS, GitHub, Google Cloud,
 * platform and login; the client reaches it through a front.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startBroker } from '../broker/compose/start.ts';
import { systemClock } from '../broker/core/clock.ts';
import type { Clock } from '../broker/core/vocabulary.ts';
import { assertDescribed } from '../broker/http/described-answers.test-support.ts';
import { recordAnswers } from '../broker/http/recorded-answers.test-support.ts';
import { placeBroker } from '../broker/store/store.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import { startAwsSandbox } from '../sandbox/aws/start.ts';
import { writRoles } from '../sandbox/aws/writ-roles.ts';
import { freePort } from '../sandbox/free-port.ts';
import { startGcpSandbox } from '../sandbox/gcp/server.ts';
import { startGithubSandbox } from '../sandbox/github/start.ts';
import { openBrowser, signIn } from '../sandbox/oidc/browser.ts';
import { demoPassword, demoUsers, startLoginProvider } from '../sandbox/oidc/login-provider.ts';
import { startPlatformIssuer } from '../sandbox/oidc/platform-issuer.ts';
import { startFront } from './front.test-support.ts';
import { type OpenSessionOptions, type Session, Writ } from './index.ts';

const agentRole = 'arn:aws:iam::111122223333:role/writ-orders';
const revokeRole = 'arn:aws:iam::111122223333:role/writ-revoker';
const pool = ['writ-1', 'writ-2', 'writ-3', 'writ-4', 'writ-5'].map(
  (name) => `${name}@demo-project.iam.gserviceaccount.com`,
);
const requestToken = 'request-token-of-the-workload';

export type Harness = Awaited<ReturnType<typeof openHarness>>;

/** @param clock the broker's and the counterparts'; the real SDKs need the system's (default) */
export async function openHarness({
  clock = systemClock,
  env = {},
  manifest = join(import.meta.dirname, 'test-manifest.yaml'),
}: {
  clock?: Clock;
  /** Of the agent invoice-bot. */
  manifest?: string;
  env?: { [name: string]: string };
} = {}) {
  const front = await startFront();
  const [platform, login, aws, github, gcp] = await Promise.all([
    startPlatformIssuer({
      clock,
      workloads: [{ requestToken, claims: { sub: 'repo:example-org/invoices:ref:refs/heads/main' } }],
    }),
    startLoginProvider({
      clients: [{ clientId: 'writ', redirectUris: [`${front.url}/login/callback`] }],
      users: demoUsers,
    }),
    startAwsSandbox({
      clock,
      issuers: { [front.url]: `${front.url}/.well-known/jwks.json` },
      roles: writRoles({ issuer: front.url, agentRole, actions: ['s3:*'], revokeRole }),
      buckets: { orders: { 'customers/42/invoice.txt': 'Invoice 42', 'customers/43/invoice.txt': 'Invoice 43' } },
    }),
    startGithubSandbox({
      clock,
      app: { id: 99, publicKeyPem: appKey.publicKey },
      accounts: [
        {
          login: 'example-org',
          repositories: [{ name: 'invoices', files: { 'docs/hello.txt': 'hello' } }, { name: 'vault' }],
          installation: { id: 4711, permissions: { contents: 'write' } },
        },
      ],
    }),
    startGcpSandbox({
      clock,
      issuers: { [front.url]: `${front.url}/.well-known/jwks.json` },
      serviceAccounts: pool.map((email) => ({
        email,
        storage: [{ bucket: 'archive', role: 'roles/storage.objectAdmin' }],
      })),
      buckets: { archive: { 'customers/42/old.txt': 'old 42', 'customers/43/old.txt': 'old 43' } },
    }),
  ]);

  const clientKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const folder = await mkdtemp(join(tmpdir(), 'writ-client-'));
  await mkdir(join(folder, 'manifests'));
  await copyFile(manifest, join(folder, 'manifests/invoice-bot.yaml'));
  const trust = {
    issuers: [{ name: 'ci', issuer: platform.issuer }],
    bindings: [
      {
        issuer: 'ci',
        claims: { sub: 'repo:example-org/invoices:ref:refs/heads/main' },
        agent: 'invoice-bot',
        responsible: 'user:operator@example.com',
      },
    ],
    clients: [
      {
        agent: 'invoice-bot',
        responsible: 'user:operator@example.com',
        client_id: 'invoice-bot-key',
        jwks: { keys: [{ ...clientKey.publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'ES256' }] },
      },
    ],
  };
  // JSON is YAML.
  await writeFile(join(folder, 'trust.yaml'), JSON.stringify(trust));

  const port = await freePort();
  front.target = `http://127.0.0.1:${port}`;
  const recorded = recordAnswers(new Set([port]));
  const database = await placeBroker();
  const broker = await startBroker(
    {
      PORT: String(port),
      WRIT_ISSUER_URL: front.url,
      WRIT_LOG_LEVEL: 'silent',
      // Tests deny, and ask again.
      WRIT_DENIAL_COOLDOWN_SECONDS: '0',
      WRIT_MANIFEST_DIR: join(folder, 'manifests'),
      WRIT_TRUST_FILE: join(folder, 'trust.yaml'),
      WRIT_OIDC_ISSUER: login.issuer,
      WRIT_OIDC_CLIENT_ID: 'writ',
      WRIT_OIDC_SCOPE: 'openid profile email groups',
      WRIT_AWS_ROLES: agentRole,
      WRIT_AWS_REVOKE_ROLE: revokeRole,
      WRIT_AWS_REVOKE_LAG_SECONDS: '0',
      AWS_ENDPOINT_URL: aws.url,
      GITHUB_APP_ID: '99',
      GITHUB_APP_PRIVATE_KEY: appKey.privateKey,
      GITHUB_API_URL: github.url,
      GOOGLE_CLOUD_PROJECT: 'demo-project',
      WRIT_GCP_SERVICE_ACCOUNTS: pool.join(','),
      WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: gcp.provider,
      WRIT_GCP_REVOKE_LAG_SECONDS: '0',
      WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: gcp.url,
      WRIT_GCP_STS_ENDPOINT: gcp.url,
      WRIT_GCP_IAM_ENDPOINT: gcp.url,
      WRIT_GCP_STORAGE_ENDPOINT: gcp.url,
      WRIT_KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64url'),
      ...database.env,
      ...env,
    },
    { clock, ...database.overrides },
  );

  const platformToken = (audience: string) =>
    platform.mint({ sub: 'repo:example-org/invoices:ref:refs/heads/main', aud: audience });
  const opened: Session[] = [];
  return {
    url: front.url,
    front,
    broker,
    platform,
    aws,
    github,
    gcp,
    clientKey,
    folder,
    /** For `githubActionsToken`. */
    jobEnvironment: {
      ACTIONS_ID_TOKEN_REQUEST_URL: `${platform.tokenUrl}?api=1`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken,
    },
    platformToken,
    /** A session of invoice-bot for customer 42. Ended with the harness. */
    open: async (options: Partial<OpenSessionOptions> = {}): Promise<Session> => {
      const session = await Writ.openSession({
        url: front.url,
        subjectToken: platformToken,
        taskType: 'answer-invoice-question',
        inputs: { customer_id: '42' },
        ...options,
      } as OpenSessionOptions);
      opened.push(session);
      return session;
    },
    /** Another process of the same workload wakes a session. */
    resume: (resume: string): Promise<Session> =>
      Writ.resumeSession({ url: front.url, subjectToken: platformToken, resume }),
    /** A person signs in and decides, as with a browser. */
    decide: async (approvalUrl: string, verdict: 'approve' | 'deny', reason = '') => {
      const browser = openBrowser();
      const page = await signIn(browser, approvalUrl, { email: 'approver@example.com', password: demoPassword });
      return browser.submit(page, verdict === 'approve' ? {} : { reason }, `value="${verdict}"`);
    },
    close: async () => {
      front.fate = () => 'pass';
      await Promise.all(opened.map((session) => session.end().catch(() => {})));
      await broker.stop();
      recorded.stop();
      await database.drop();
      await Promise.all([front, platform, login, aws, github, gcp].map((part) => part.close()));
      await rm(folder, { recursive: true });
      assertDescribed(recorded.answers);
    },
  };
}

const appKey = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  publicKeyEncoding: { type: 'spki', format: 'pem' },
});

/** How the newest call of a tool came out, once that has been reported: nobody who made it waits for it. */
export async function outcomeOf({ broker }: Harness, tool: string): Promise<string | null> {
  const newest = () => broker.store.prisma.action.findFirst({ where: { tool }, orderBy: { askedAt: 'desc' } });
  await until(`the outcome of ${tool}`, async () => ((await newest())?.outcome ?? null) !== null);
  return (await newest())!.outcome;
}
