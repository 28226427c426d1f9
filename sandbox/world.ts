/**
 * Everything around the broker, on loopback: AWS, GitHub, Google Cloud, the platform that runs the agent, and
 * the approvers' identity provider; with the environment that points a broker at them. The quickstart, the
 * benchmark and the whole-way tests start the same world.
 */
import { generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../broker/core/vocabulary.ts';
import { type AwsSandbox, startAwsSandbox } from './aws/start.ts';
import { writRoles } from './aws/writ-roles.ts';
import { freePort } from './free-port.ts';
import { type GcpSandbox, startGcpSandbox } from './gcp/server.ts';
import { type GithubSandbox, startGithubSandbox } from './github/start.ts';
import { demoUsers, type LoginProvider, type LoginUser, startLoginProvider } from './oidc/login-provider.ts';
import { type PlatformIssuer, startPlatformIssuer } from './oidc/platform-issuer.ts';

export const agentRole = 'arn:aws:iam::111122223333:role/writ-orders';
const revokeRole = 'arn:aws:iam::111122223333:role/writ-revoker';
const appId = 1001;

/** What the platform says about the example agent's runs; the trust file binds it by the first two. */
export const workload = { repository_id: '4711', environment: 'production', actor: 'owner@example.com' };

const workloadSubject = 'repo:example-org/agents:environment:production';

export interface World {
  /** Variables for `startBroker` or `npm start`. */
  env: Record<string, string>;
  /** Where the broker must listen: the clouds trust the tokens of this issuer. */
  brokerUrl: string;
  aws: AwsSandbox;
  github: GithubSandbox;
  gcp: GcpSandbox;
  platform: PlatformIssuer;
  login: LoginProvider;
  /** What the platform gives the agent's job, by GitHub Actions' own names. */
  jobEnv: Record<string, string>;
  /** A platform token for one run of the example agent. */
  subjectToken(claims?: Record<string, string>): Promise<string>;
  close(): Promise<void>;
}

export interface WorldOptions {
  clock: Clock;
  /** The clouds' own clock, where it is not the broker's. */
  cloudClock?: Clock;
  /** Default: a free port. */
  brokerPort?: number;
  /** Accounts in the Google pool: as many grants can live (or be in quarantine) at once. Default 4. */
  poolSize?: number;
  /** Who can sign in. Default: the demo's people. */
  users?: LoginUser[];
  /** How long the clouds take to enforce a revocation. Default 300 ms. */
  lagMs?: number;
}

/** One for all worlds of this process: an RSA key takes a tenth of a second to make. */
let githubAppKey: KeyObject | undefined;

export async function startWorld(options: WorldOptions): Promise<World> {
  const { clock, lagMs = 300 } = options;
  const cloudClock = options.cloudClock ?? clock;
  const brokerPort = options.brokerPort ?? (await freePort());
  const brokerUrl = `http://127.0.0.1:${brokerPort}`;
  const issuers = { [brokerUrl]: `${brokerUrl}/.well-known/jwks.json` };
  githubAppKey ??= generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const pem = githubAppKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const requestToken = randomBytes(32).toString('base64url');
  const members = Array.from(
    { length: options.poolSize ?? 4 },
    (_, i) => `writ-${i + 1}@demo-project.iam.gserviceaccount.com`,
  );

  const [aws, github, gcp, platform, login] = await Promise.all([
    startAwsSandbox({
      clock: cloudClock,
      issuers,
      roles: writRoles({ issuer: brokerUrl, agentRole, actions: ['s3:*'], revokeRole }),
      buckets: {
        orders: {
          'customers/42/invoice.txt': 'Invoice 7, customer 42: 120.00',
          'customers/43/invoice.txt': 'Invoice 8, customer 43: 80.00',
        },
        payroll: { 'march.csv': 'secret' },
      },
      denyLagMs: lagMs,
    }),
    startGithubSandbox({
      clock: cloudClock,
      app: { id: appId, privateKeyPem: pem },
      accounts: [
        {
          login: 'example-org',
          repositories: [
            { name: 'orders', files: { 'docs/invoice-policy.md': 'Invoices are due after 30 days.\n' } },
            { name: 'payroll' },
          ],
          installation: { id: 5001, permissions: { contents: 'write', issues: 'write' } },
        },
      ],
    }),
    startGcpSandbox({
      clock: cloudClock,
      issuers,
      serviceAccounts: members.map((email) => ({
        email,
        storage: [{ bucket: 'statements', role: 'roles/storage.objectAdmin' }],
      })),
      buckets: { statements: { 'customers/42/march.txt': 'Balance 0.00', 'customers/43/march.txt': 'Balance 80.00' } },
      disableLagMs: lagMs,
    }),
    startPlatformIssuer({ clock, workloads: [{ requestToken, claims: { sub: workloadSubject, ...workload } }] }),
    startLoginProvider({
      clients: [{ clientId: 'writ', redirectUris: [`${brokerUrl}/login/callback`] }],
      users: options.users ?? demoUsers,
    }),
  ]);

  const folder = await mkdtemp(join(tmpdir(), 'writ-sandbox-'));
  const trustFile = join(folder, 'trust.yaml');
  await writeFile(trustFile, trust(platform.issuer));
  const lagSeconds = String(Math.ceil(lagMs / 1000));
  return {
    env: {
      PORT: String(brokerPort),
      WRIT_ISSUER_URL: brokerUrl,
      WRIT_MANIFEST_DIR: join(import.meta.dirname, 'example/manifests'),
      WRIT_TRUST_FILE: trustFile,
      WRIT_OIDC_ISSUER: login.issuer,
      WRIT_OIDC_CLIENT_ID: 'writ',
      WRIT_ADMIN_GROUP: 'writ-admins',
      WRIT_AWS_ROLES: agentRole,
      WRIT_AWS_REVOKE_ROLE: revokeRole,
      WRIT_AWS_REVOKE_LAG_SECONDS: lagSeconds,
      // The tests count what AWS is asked.
      WRIT_AWS_TRY_STORE: 'off',
      AWS_ENDPOINT_URL: aws.url,
      GITHUB_APP_ID: String(appId),
      GITHUB_APP_PRIVATE_KEY: pem,
      GITHUB_API_URL: github.url,
      WRIT_GCP_SERVICE_ACCOUNTS: members.join(','),
      WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: gcp.provider,
      WRIT_GCP_STS_ENDPOINT: gcp.url,
      WRIT_GCP_IAM_ENDPOINT: gcp.url,
      WRIT_GCP_STORAGE_ENDPOINT: gcp.url,
      WRIT_GCP_IAM_CREDENTIALS_ENDPOINT: gcp.url,
      WRIT_GCP_REVOKE_LAG_SECONDS: lagSeconds,
    },
    jobEnv: { ACTIONS_ID_TOKEN_REQUEST_URL: platform.tokenUrl, ACTIONS_ID_TOKEN_REQUEST_TOKEN: requestToken },
    brokerUrl,
    aws,
    github,
    gcp,
    platform,
    login,
    subjectToken: (claims = {}) =>
      platform.mint({
        sub: workloadSubject,
        aud: brokerUrl,
        jti: crypto.randomUUID(),
        ...workload,
        ...claims,
      }),
    close: async () => {
      await Promise.all([aws.close(), github.close(), gcp.close(), platform.close(), login.close()]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const trust = (issuer: string) => `# Whom the broker believes in the sandbox.
issuers:
  - { name: sandbox-ci, issuer: "${issuer}", kind: github_actions }
bindings:
  - issuer: sandbox-ci
    agent: invoice-bot
    started_by_claim: actor
    started_by_kind: email
    claims: { repository_id: "${workload.repository_id}", environment: "${workload.environment}" }
`;
