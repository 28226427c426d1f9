/**
 * Tokens for every repository of an owner: GitHub's answer names none, so the installation must be the
 * owner's.
 */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, test } from 'node:test';
import type { ProviderError } from '../contract.ts';
import { beyondPlan } from './echo.ts';
import {
  allowed,
  type GithubHarness,
  issueWith,
  octokitWith,
  providerFor,
  startHarness,
} from './harness.test-support.ts';
import { narrower } from './narrower.ts';
import { params } from './params.ts';
import { describePlan, permissionOf, planFor } from './plan.ts';
import { reach } from './reach.ts';

const all = { owner: 'example-org', repositories: 'all', permissions: { contents: 'read' } };
const some = { ...all, repositories: ['orders'] };
const planOf = (value: unknown) => planFor(params.parse(value), 900, null);

let harness: GithubHarness;
beforeEach(async () => {
  harness = await startHarness();
});
afterEach(() => harness.sandbox.close());

const failure = (work: Promise<unknown>) =>
  work.then(
    () => assert.fail('should have failed'),
    (error: ProviderError) => error,
  );

test('the token reaches every repository of the installation, of an organization as of a user', async () => {
  const { credential } = await issueWith(harness, all);
  const { repos } = octokitWith(credential).rest;
  for (const repo of ['orders', 'billing'])
    assert.ok(await allowed(repos.getContent({ owner: 'example-org', repo, path: 'README.md' })), repo);
  assert.equal(
    await allowed(repos.get({ owner: 'example-org', repo: 'vault' })),
    false,
    'the App is not installed there',
  );
  const notes = await issueWith(harness, { ...all, owner: 'example-user' });
  assert.ok(await allowed(octokitWith(notes.credential).rest.repos.get({ owner: 'example-user', repo: 'notes' })));
});

test('an installation of another owner mints nothing, whether the plan or the settings name it', async () => {
  const named = await failure(issueWith(harness, { ...all, installation_id: 78 }));
  assert.deepEqual([named.code, named.mayHaveMinted], ['upstream_mismatch', false]);
  const provider = providerFor(harness.sandbox, harness.clock, { GITHUB_INSTALLATION_ID: '78' });
  assert.equal((await failure(issueWith({ ...harness, provider }, all))).code, 'upstream_mismatch');
  assert.equal(harness.sandbox.liveTokens(), 0);
  await issueWith(harness, { ...all, installation_id: 77 });
});

test('the owner’s installation is asked for every time: what was remembered is not believed', async () => {
  const seen: string[] = [];
  let id = 5;
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    if (request.method === 'GET') response.end(JSON.stringify({ id, account: { login: 'Example-Org' } }));
    else if (request.method === 'DELETE') response.writeHead(204).end();
    else {
      const body = { token: `ghs_${'x'.repeat(36)}`, expires_at: new Date(harness.clock.now().getTime() + 3_600_000) };
      response.writeHead(201);
      response.end(JSON.stringify({ ...body, permissions: { contents: 'read' }, repository_selection: 'all' }));
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider = providerFor({ url }, harness.clock);
  await issueWith({ ...harness, provider }, all);
  id = 6;
  await issueWith({ ...harness, provider }, all);
  server.closeAllConnections();
  server.close();
  const mints = seen.filter((line) => !line.endsWith('/meta'));
  assert.deepEqual(
    mints,
    [5, 6].flatMap((one) => ['GET /orgs/example-org/installation', `POST /app/installations/${one}/access_tokens`]),
  );
});

test('the plan says it in words, and its reach is the owner’s', () => {
  const { summary } = describePlan(planOf({ ...all, permissions: { contents: 'write', members: 'read' } }));
  assert.equal(
    summary[0],
    'Read and write files, commits, branches and releases in every repository of example-org that the App is installed on (GitHub: contents: write)',
  );
  assert.match(summary[1] ?? '', /^Read members and teams in the whole organization example-org/);
  assert.ok(summary.some((line) => /a repository that is added .* is reached, too/.test(line)));
  assert.deepEqual(reach(planOf(all))[0]?.resources, ['example-org/*']);
});

test('a list is narrower than all, never the other way', () => {
  assert.equal(narrower(planOf(some), planOf(all)), true);
  assert.equal(narrower(planOf(all), planOf(all)), true);
  assert.equal(narrower(planOf(all), planOf(some)), false);
  assert.equal(narrower(planOf({ ...some, owner: 'example-user' }), planOf(all)), false);
});

test('an answer for all is believed only about this owner', () => {
  const planned = permissionOf(planOf(all));
  const good = { permissions: { contents: 'read', metadata: 'read' }, repository_selection: 'all' };
  assert.equal(beyondPlan(good, planned), null);
  assert.equal(beyondPlan({ ...good, repository_selection: 'selected' }, planned), null);
  assert.equal(beyondPlan({ ...good, repositories: [{ full_name: 'Example-Org/a' }] }, planned), null);
  const wrong: unknown[] = [
    { ...good, repository_selection: undefined },
    { ...good, repositories: [{ full_name: 'elsewhere/a' }] },
    { ...good, repositories: [{ full_name: 'example-org2/a' }] },
    { ...good, repositories: ['example-org/a'] },
    { ...good, permissions: { contents: 'write' } },
  ];
  for (const answer of wrong) assert.notEqual(beyondPlan(answer, planned), null, JSON.stringify(answer));
  // What was asked for by name is not answered with all.
  assert.notEqual(beyondPlan(good, permissionOf(planOf(some))), null);
});
