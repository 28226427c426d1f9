import { type ConformanceHarness, conformance } from '../conformance.ts';
import type { JsonObject } from '../contract.ts';
import { allowed, key, octokitWith, readOrders, startHarness } from './harness.test-support.ts';

const writeBoth = {
  owner: 'example-org',
  repositories: ['orders', 'billing'],
  permissions: { contents: 'write', issues: 'read' },
};
const readNotes = { owner: 'example-user', repositories: ['notes'], permissions: { contents: 'read' } };

const readAll = { ...readOrders, repositories: 'all' };

const badParams: ConformanceHarness['badParams'] = [
  { params: {}, path: 'owner' },
  { params: { ...readOrders, repositories: undefined }, path: 'repositories' },
  { params: { ...readOrders, permissions: undefined }, path: 'permissions' },
  { params: { ...readOrders, permissions: {} }, path: 'permissions' },
  { params: { ...readOrders, repositories: [] }, path: 'repositories' },
  { params: { ...readOrders, repositories: Array.from({ length: 501 }, (_, n) => `r${n}`) }, path: 'repositories' },
  { params: { ...readOrders, repositories: ['orders', 'Orders'] }, path: 'repositories.1' },
  { params: { ...readOrders, repository_ids: [1] }, path: 'repository_ids' },
  { params: { ...readOrders, permissions: { contents: 'maintain' } }, path: 'permissions.contents' },
  { params: { ...readOrders, permissions: { workflows: 'none' } }, path: 'permissions.workflows' },
  { params: { ...readOrders, permissions: { everything: 'all' } }, path: 'permissions.everything' },
  { params: { ...readOrders, permissions: { Contents: 'read' } }, path: 'permissions.Contents' },
  { params: { ...readOrders, repositories: 'everything' }, path: 'repositories' },
  { params: { ...readOrders, installation_id: '77' }, path: 'installation_id' },
  { params: { ...readOrders, installation_id: -1 }, path: 'installation_id' },
  { params: { ...readOrders, owner: 'not-on-the-list' }, path: 'owner' },
  ...[
    '',
    '.',
    '..',
    '../vault',
    'a/b',
    '*',
    'orders*',
    'orders.git',
    'or ders',
    'órders',
    'orders\n',
    'orders\u0000',
    '%2e%2e',
    'x'.repeat(101),
  ].map((name) => ({ params: { ...readOrders, repositories: ['orders', name] }, path: 'repositories.1' })),
  ...[
    '',
    '..',
    '../example-org',
    'example-org/orders',
    '*',
    'exämple',
    'a b',
    '-a',
    'example-org\r\n',
    'x'.repeat(40),
  ].map((owner) => ({
    params: { ...readOrders, owner },
    path: 'owner',
  })),
];

/** What the process prints while a harness is open: the provider has no logger of its own. */
function capturePrinted(): { text(): string; stop(): void } {
  const streams = [process.stdout, process.stderr];
  const originals = streams.map((stream) => stream.write);
  let printed = '';
  for (const [index, stream] of streams.entries())
    stream.write = ((...given: Parameters<typeof stream.write>) => {
      printed += String(given[0]);
      return originals[index]?.apply(stream, given) ?? true;
    }) as typeof stream.write;
  return {
    text: () => printed,
    stop: () => {
      for (const [index, stream] of streams.entries()) stream.write = originals[index] as typeof stream.write;
    },
  };
}

let changes = 0;

async function make(tokenFormat: 'short' | 'stateless', enterprise: boolean): Promise<ConformanceHarness> {
  const environment = { WRIT_GITHUB_OWNERS: 'Example-Org, example-user' };
  const { provider, sandbox, clock } = await startHarness({ tokenFormat, enterprise }, environment);
  const printed = capturePrinted();
  return {
    provider,
    clock,
    // The first names its installation, so that its only request is the mint; the others have it looked up.
    goodParams: [{ ...readOrders, installation_id: 77 }, writeBoth, readNotes, readAll],
    badParams,
    statefulParams: [{ ...readOrders, installation_id: 77 }, writeBoth],
    changeState: async () => {
      const plan = provider.plan(provider.params.parse(writeBoth), 900);
      const context = {
        leaseId: 'lse_writer',
        sessionId: 'ses_writer',
        agent: 'writer',
        signal: new AbortController().signal,
      };
      const { credential } = await provider.issue({ ...context, plan });
      changes += 1;
      const file = { path: `changes/${changes}.txt`, message: 'a change', content: 'eA==' };
      await octokitWith(credential).rest.repos.createOrUpdateFileContents({
        owner: 'example-org',
        repo: 'orders',
        ...file,
      });
    },
    async use(credential: JsonObject, inside: boolean, index = 0) {
      const { repos } = octokitWith(credential).rest;
      const [owner, repo] = index === 2 ? ['example-user', 'notes'] : ['example-org', 'orders'];
      const readme = { owner, repo, path: 'README.md' };
      const change = { owner, repo, path: `made-${clock.now().getTime()}.txt`, message: 'Add', content: 'eA==' };
      if (inside) {
        const read = await allowed(repos.getContent(readme));
        const written = index !== 1 || (await allowed(repos.createOrUpdateFileContents(change)));
        return read && written ? 'accepted' : 'refused';
      }
      const tries = [
        allowed(repos.getContent({ ...readme, owner: 'example-org', repo: index === 0 ? 'billing' : 'vault' })),
        allowed(repos.delete({ owner, repo })),
        ...(index === 1 ? [] : [allowed(repos.createOrUpdateFileContents(change))]),
      ];
      return (await Promise.all(tries)).some(Boolean) ? 'accepted' : 'refused';
    },
    upstream: {
      requests: sandbox.requests,
      fail: (kind) => sandbox.fail(kind === 'throttled' ? 'secondary-rate' : kind),
      throttledSeconds: 60,
      odd: Object.fromEntries(
        (['ends-in-the-past', 'ends-too-late', 'wider-permissions', 'wider-repositories', 'silent'] as const).map(
          (fault) => [fault, () => sandbox.fail(fault)],
        ),
      ),
      expectedRefusalCode: '422',
    },
    breaks: {
      'a suspended installation': () => sandbox.suspend(77),
      'a permission that the App has not': () => sandbox.setPermissions(77, { contents: 'read' }),
      'a key of another App': () => sandbox.fail('bad-credentials', 'lookup'),
    },
    output: printed.text,
    otherSecrets: () => [key.privateKey, key.privateKey.split('\n')[3] ?? ''],
    async advance(ms) {
      clock.advance(ms);
    },
    async close() {
      printed.stop();
      await sandbox.close();
    },
  };
}

conformance('github', () => make('short', false));
conformance('github with stateless tokens', () => make('stateless', false));
conformance('GitHub Enterprise Server', () => make('short', true));
