/** The suite that every provider passes: both transports, with the pool and with a shared account. */

// Google's client libraries print whole answers when this is set; the suite's search for secrets must still
// find nothing.
process.env.GOOGLE_SDK_NODE_LOGGING = 'all';

import { throttledSeconds } from '../../sandbox/gcp/faults.ts';
import { type ConformanceHarness, conformance } from '../conformance.ts';
import { gcpBench, poolAccounts, sharedAccount, storage } from './harness.test-support.ts';

const scopePrefix = 'https://www.googleapis.com/auth/';
const shared = { service_account: sharedAccount };

/** Inside and outside of each of the good parameters. */
type Request = ['GET' | 'LIST' | 'PUT', string, string];
const cases: { params: object; inside: Request; outside: Request }[] = [
  {
    params: { bucket: 'orders', prefix: 'customers/42/' },
    inside: ['GET', 'orders', 'customers/42/a.txt'],
    outside: ['GET', 'orders', 'customers/43/a.txt'],
  },
  {
    params: {
      buckets: [{ bucket: 'orders', role: 'roles/storage.objectCreator', prefix: 'drop/' }, { bucket: 'archive' }],
    },
    inside: ['PUT', 'orders', 'drop/new.txt'],
    outside: ['PUT', 'archive', 'drop/new.txt'],
  },
  {
    params: {
      bucket: 'orders',
      prefix: 'customers/42/',
      scopes: [`${scopePrefix}cloud-platform`],
      project: 'other-project',
    },
    inside: ['LIST', 'orders', 'customers/42/'],
    outside: ['LIST', 'orders', 'customers/'],
  },
  {
    params: { scopes: [`${scopePrefix}devstorage.read_only`] },
    inside: ['GET', 'archive', 'old.txt'],
    outside: ['PUT', 'archive', 'old.txt'],
  },
];

const malformedParams = [
  { params: {}, path: 'scopes' },
  { params: { bucket: 'orders', colour: 'red' }, path: 'colour' },
  { params: { bucket: 'Orders/../x' }, path: 'bucket' },
  { params: { bucket: 'orders', prefix: '' }, path: 'prefix' },
  { params: { bucket: 'orders', prefix: 'customers/4' }, path: 'prefix' },
  { params: { buckets: [{ bucket: 'orders', prefix: 'customers/4' }] }, path: 'buckets.0.prefix' },
  { params: { bucket: 'orders', prefix: 'a\u0000b/' }, path: 'prefix' },
  { params: { bucket: 'orders', prefix: 'a\u202eb/' }, path: 'prefix' },
  { params: { bucket: 'orders', prefix: `${'x'.repeat(1024)}/` }, path: 'prefix' },
  { params: { bucket: 'orders', prefix: `${"'".repeat(700)}/` }, path: 'prefix' },
  { params: { prefix: 'customers/' }, path: 'prefix' },
  { params: { bucket: 'orders', role: 'roles/owner' }, path: 'role' },
  { params: { bucket: 'orders', role: 'roles/storage.objectViewer,inRole:roles/storage.admin' }, path: 'role' },
  { params: { bucket: 'orders', buckets: [{ bucket: 'archive' }] }, path: 'buckets' },
  { params: { buckets: [] }, path: 'buckets' },
  { params: { buckets: Array.from({ length: 11 }, () => ({ bucket: 'orders' })) }, path: 'buckets' },
  {
    params: { buckets: [{ bucket: 'orders' }, { bucket: 'archive', prefix: `${"'".repeat(700)}/` }] },
    path: 'buckets.1.prefix',
  },
  { params: { scopes: [] }, path: 'scopes' },
  { params: { scopes: ['https://evil.example/auth/x'] }, path: 'scopes.0' },
  { params: { scopes: [`${scopePrefix}a ${scopePrefix}b`] }, path: 'scopes.0' },
  { params: { bucket: 'orders', service_account: 'x@y.iam.gserviceaccount.com/../z' }, path: 'service_account' },
  {
    params: { bucket: 'orders', service_account: 'other@demo-project.iam.gserviceaccount.com' },
    path: 'service_account',
  },
];

for (const transport of ['rest', 'grpc'] as const)
  for (const accounts of ['pool', 'shared'] as const)
    conformance(`gcp over ${transport}, ${accounts}`, () => makeHarness(transport, accounts));

async function makeHarness(transport: string, accounts: 'pool' | 'shared'): Promise<ConformanceHarness> {
  const output = captureOutput();
  const harness = await gcpBench({ WRIT_GCP_TRANSPORT: transport }, { disableLagMs: 60_000 });
  // So that the broker's own token is there already, and a hanging mint is the mint that hangs.
  await harness.issue(harness.plan({ bucket: 'orders', ...shared }));
  const { sandbox, clock, provider } = harness;
  return {
    provider,
    clock,
    goodParams: cases.map(({ params }) => (accounts === 'shared' ? { ...params, ...shared } : params)),
    statefulParams: cases.slice(0, 3).map(({ params }) => (accounts === 'shared' ? { ...params, ...shared } : params)),
    changeState: async () => {
      sandbox.setObject('orders', 'customers/42/a.txt', 'changed');
      sandbox.setObject('archive', 'old.txt', 'changed');
    },
    badParams: malformedParams,
    use: async (credential, inside, index = 0) => {
      const wanted = cases[index]!;
      const status = await storage(sandbox, credential, ...(inside ? wanted.inside : wanted.outside));
      return status < 300 ? 'accepted' : 'refused';
    },
    upstream: {
      requests: () => sandbox.requests(),
      fail: (kind) => {
        if (kind === null) sandbox.lengthenTokensBy(0);
        sandbox.fail(kind);
      },
      throttledSeconds,
      odd: {
        'ends-in-the-past': () => sandbox.lengthenTokensBy(-7_200),
        'ends-too-late': () => sandbox.lengthenTokensBy(7_200),
      },
      expectedRefusalCode: 'PERMISSION_DENIED',
    },
    breaks: {
      'an account that the broker may not mint on': () =>
        sandbox.takeFromBroker({ mintingOn: accounts === 'shared' ? sharedAccount : poolAccounts[0]! }),
      'accounts that it may not disable': () => sandbox.takeFromBroker('administering'),
      'a pool that does not take the issuer': () => {
        sandbox.forgetTokens();
        sandbox.fail('issuer-unreachable', 'exchange');
      },
    },
    output: output.text,
    otherSecrets: () => [...harness.identityTokens, ...sandbox.tokens()],
    advance: async (ms) => clock.advance(ms),
    close: async () => {
      output.stop();
      await harness.close();
    },
  };
}

/** Everything printed to the terminal's error stream or the console while the harness is open. */
function captureOutput() {
  const seen: string[] = [];
  const stderr = process.stderr.write;
  const consoleMethods = ['log', 'info', 'warn', 'error', 'debug'] as const;
  const originals = consoleMethods.map((method) => console[method]);
  process.stderr.write = ((chunk: string | Uint8Array) => seen.push(String(chunk)) > 0) as typeof stderr;
  for (const method of consoleMethods)
    console[method] = (...parts: unknown[]) => seen.push(parts.map(String).join(' '));
  return {
    text: () => seen.join('\n'),
    stop: () => {
      process.stderr.write = stderr;
      consoleMethods.forEach((method, index) => {
        console[method] = originals[index]!;
      });
    },
  };
}
