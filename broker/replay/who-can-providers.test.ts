/**
 * Who could ever do something at each provider, by the plans that the provider really makes: exact where it
 * says yes or no; where it cannot tell, it says why and leaves nothing out.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Provider } from '../../providers/contract.ts';
import { type GcpParams, params as gcpParams } from '../../providers/gcp/params.ts';
import { asJson, planPermission } from '../../providers/gcp/permission.ts';
import { reach as gcpReach } from '../../providers/gcp/reach.ts';
import type { GcpSettings } from '../../providers/gcp/settings.ts';
import { type GithubParams, params as githubParams } from '../../providers/github/params.ts';
import { planFor as githubPlan } from '../../providers/github/plan.ts';
import { reach as githubReach } from '../../providers/github/reach.ts';
import { type PostgresParams, params as postgresParams } from '../../providers/postgres/params.ts';
import { planFor as postgresPlan } from '../../providers/postgres/plan.ts';
import { reach as postgresReach } from '../../providers/postgres/reach.ts';
import { readManifest } from '../manifests/read.ts';
import { publishedAs } from './record.test-support.ts';
import { whoCan } from './who-can.ts';

const made = (name: string, what: object): Provider =>
  ({
    name,
    limits: { minTtlSeconds: 60, maxTtlSeconds: 3600, longestProviderLifetimeSeconds: 3720 },
    describe: () => ({ summary: ['…'], revocability: { kind: 'eventual', text: '…' } }),
    ...what,
  }) as unknown as Provider;

const account = 'shared@example-project.iam.gserviceaccount.com';
const gcpSettings = {
  WRIT_GCP_SERVICE_ACCOUNTS: ['pool@example-project.iam.gserviceaccount.com'],
  WRIT_GCP_SHARED_SERVICE_ACCOUNTS: [account],
} as unknown as GcpSettings;
const owners = new Set(['example-org', 'example-labs']);

const providers: { [name: string]: Provider } = {
  github: made('github', {
    params: githubParams,
    plan: (params: GithubParams, ttl: number) => githubPlan(params, ttl, owners),
    reach: githubReach,
    caselessReach: 'all',
  }),
  gcp: made('gcp', {
    params: gcpParams,
    plan: (params: GcpParams, ttl: number) => ({
      provider: 'gcp',
      permission: asJson(planPermission(gcpSettings, params)),
      ttl_seconds: ttl,
    }),
    reach: gcpReach,
  }),
  postgres: made('postgres', {
    params: postgresParams,
    plan: (params: PostgresParams, ttl: number) => postgresPlan(params, ttl, { database: 'shop', hasReplica: true }),
    reach: postgresReach,
  }),
  // What an embedder brings may do without `reach`.
  custom: made('custom', {
    params: githubParams,
    plan: (params: GithubParams, ttl: number) => ({ ...githubPlan(params, ttl, null), provider: 'custom' }),
  }),
};

const manifestOf = (provider: string, capabilities: string) => `apiVersion: writ/v1
agent: some-bot
owner: team:billing
description: Does things.
envelope: { wall_time: 30m }
task_types:
  work:
    description: Work.
    inputs:
      repository: { type: string, pattern: '[a-z]{1,8}-service' }
      customer: { type: string, pattern: '[0-9]{1,6}' }
      number: { type: integer }
      owner: { type: string, pattern: 'example-[a-z]+' }
      stage: { type: string, enum: [test, live] }
capabilities:
${capabilities
  .trim()
  .split('\n')
  .map((line) => {
    const [name, ...rest] = line.trim().split(': ');
    return `  ${name}: { description: Some., provider: ${provider}, tasks: [work], tier: 1, max_ttl: 15m, ${rest.join(': ')} }`;
  })
  .join('\n')}
`;

function asker(provider: string, capabilities: string) {
  const read = readManifest(manifestOf(provider, capabilities), providers);
  assert.ok(read.ok, JSON.stringify(read));
  const published = publishedAs(read.compiled, 1);
  const deps = {
    providers: new Map(Object.entries(providers)),
    digest: (one: string) => one,
    now: new Date(0),
    open: [],
  };
  const find = (action: string, resource: string) => whoCan(deps, published, { provider, action, resource });
  /** Names of those that answer yes, of those that answer no, and of those that cannot tell. */
  const answers = (action: string, resource: string) => {
    const found = find(action, resource);
    const of = (answer: string) => found.filter((one) => one.answer === answer).map(({ name }) => name);
    return { yes: of('yes'), no: of('no'), cannot_tell: of('cannot_tell') };
  };
  return { find, answers };
}

test('GitHub: a permission on a repository; levels include those below, names know no case', () => {
  const { find, answers } = asker(
    'github',
    `
    push: params: { owner: example-org, repositories: ['\${inputs.repository}', docs], permissions: { contents: write } }
    read: params: { owner: example-org, repositories: [docs], permissions: { issues: read } }
    members: params: { owner: example-labs, repositories: [site], permissions: { members: read } }
    anywhere: params: { owner: '\${inputs.owner}', repositories: [docs], permissions: { contents: read } }
  `,
  );
  assert.deepEqual(answers('contents:write', 'example-org/docs'), {
    yes: ['push'],
    no: ['read', 'members'],
    cannot_tell: ['anywhere'],
  });
  assert.deepEqual(answers('CONTENTS:read', 'Example-Org/Shop-Service').yes, ['push']);
  assert.deepEqual(find('contents:read', 'example-org/shop-service')[0]?.example?.inputs.repository, 'shop-service');
  assert.deepEqual(answers('contents:write', 'example-org/shop-svc').yes, []);
  assert.deepEqual(answers('contents:admin', '*').yes, [], 'write is not admin');
  assert.deepEqual(answers('issues:*', 'example-org/docs').yes, ['read']);
  // Every token for repositories may read what they are.
  assert.deepEqual(answers('metadata:read', 'example-org/docs').yes, ['push', 'read']);
  // A permission of the organization reaches beyond the repositories that are named.
  assert.deepEqual(answers('members:read', 'example-labs').yes, ['members']);
  assert.deepEqual(answers('members:read', 'example-labs/other').yes, ['members']);
  assert.deepEqual(answers('members:read', 'example-org').yes, []);
  assert.deepEqual(answers('contents:read', 'example-labs/site').yes, []);
  // The deployment's list of owners takes no name but its own: what an input becomes cannot be told.
  const [, , , anywhere] = find('contents:read', 'example-org/docs');
  assert.match(anywhere?.because[0] ?? '', /inputs\.owner/);
});

test('Google Cloud: a bucket, a prefix, a permission or the role; scopes without a bucket are beyond it', () => {
  const { find, answers } = asker(
    'gcp',
    `
    writes: params: { bucket: 'orders-\${inputs.stage}', prefix: 'customers/\${inputs.customer}/', role: roles/storage.objectAdmin }
    reads: params: { bucket: orders-live }
    scoped: params: { bucket: orders-live, role: roles/storage.objectAdmin, scopes: ['https://www.googleapis.com/auth/devstorage.read_only'] }
    own-role: params: { bucket: orders-live, role: projects/example-project/roles/counting }
    elsewhere: params: { bucket: orders-live, role: roles/storage.objectAdmin, scopes: ['https://www.googleapis.com/auth/bigquery'] }
    no-bucket: params: { service_account: ${account}, scopes: ['https://www.googleapis.com/auth/bigquery'] }
  `,
  );
  const object = 'gs://orders-live/customers/42/invoice';
  assert.deepEqual(answers('storage.objects.create', object), {
    yes: ['writes'],
    no: ['reads', 'scoped'],
    cannot_tell: ['own-role', 'elsewhere', 'no-bucket'],
  });
  assert.deepEqual(answers('storage.objects.get', object).yes, ['writes', 'reads', 'scoped']);
  assert.deepEqual(answers('storage.objects.get', 'gs://orders-live/customers/x/invoice').yes, ['reads', 'scoped']);
  assert.deepEqual(answers('storage.objects.delete', 'gs://orders-test/customers/7/*').yes, ['writes']);
  assert.deepEqual(answers('storage.objects.delete', 'gs://orders-prod/*').yes, []);
  assert.deepEqual(answers('storage.objects.delete', 'gs://orders-prod/*').cannot_tell, ['no-bucket']);
  assert.deepEqual(answers('roles/storage.objectViewer', 'gs://orders-live').yes, ['reads']);
  assert.deepEqual(answers('projects/example-project/roles/counting', object).yes, ['own-role']);
  // Not of the five verbs: whether the role has it is Google's to say, and said to be.
  assert.deepEqual(answers('storage.objects.setIamPolicy', object).cannot_tell.length, 6);
  const why = Object.fromEntries(find('storage.objects.create', object).map(({ name, because }) => [name, because]));
  assert.match(why['own-role']?.[0] ?? '', /what is in projects\/example-project\/roles\/counting is Google’s to say/);
  assert.match(why.elsewhere?.[0] ?? '', /bigquery/);
  assert.match(why['no-bucket']?.[0] ?? '', /bounded by its scopes/);
  const [, , scoped] = find('storage.objects.get', object);
  assert.match(scoped?.because[0] ?? '', /^only for what its scopes allow: .*read_only/);
});

test('PostgreSQL: a verb on a table or a column; which rows, the answer says', () => {
  const { find, answers } = asker(
    'postgres',
    `
    one-customer: params: { tables: [{ table: orders, read: [id, total], update: [total], rows: { customer_id: '\${inputs.customer}' } }] }
    by-number: params: { tables: [{ table: orders, read: [id], rows: { customer_id: '\${inputs.number}' } }] }
    all-rows: params: { tables: [{ schema: app, table: 'orders', through: view, read: [id], delete: true, rows: all }] }
    starred: params: { tables: [{ table: 'or*ers', read: ['a?'], insert: ['a?'], rows: all }] }
  `,
  );
  assert.deepEqual(answers('select', 'public.orders'), {
    yes: ['one-customer', 'by-number'],
    no: ['all-rows', 'starred'],
    cannot_tell: [],
  });
  assert.deepEqual(answers('select', 'public.orders.total').yes, ['one-customer']);
  assert.deepEqual(answers('update', 'public.orders.id').yes, []);
  assert.deepEqual(answers('update', '*.total').yes, ['one-customer']);
  assert.deepEqual(answers('delete', 'app.orders').yes, ['all-rows']);
  assert.deepEqual(answers('delete', 'public.*').yes, []);
  assert.deepEqual(answers('delete', 'app.orders.total').yes, ['all-rows'], 'a row is deleted with all its columns');
  // A star in a name is a star, and not a pattern; and names differ by case.
  assert.deepEqual(answers('insert', 'public.or\\*ers.a\\?').yes, ['starred']);
  assert.deepEqual(answers('insert', 'public.orders.ab').yes, []);
  assert.deepEqual(answers('select', 'public.Orders').yes, []);
  const [found] = find('select', 'public.orders');
  const { customer } = found?.example?.inputs ?? {};
  assert.deepEqual(found?.because, [`only for rows with customer_id = ${JSON.stringify(customer)}`]);
  assert.deepEqual(find('delete', 'app.orders')[2]?.because, []);
});

test('a provider that does not say what its plans reach is told of, capability by capability', () => {
  const { find, answers } = asker(
    'custom',
    `
    one: params: { owner: example-org, repositories: [docs], permissions: { contents: read } }
    other: params: { owner: example-org, repositories: ['\${inputs.repository}'], permissions: { contents: read } }
  `,
  );
  assert.deepEqual(answers('anything', 'at all'), { yes: [], no: [], cannot_tell: ['one', 'other'] });
  assert.deepEqual(find('anything', 'at all')[0]?.because, ['custom does not say what its plans reach']);
});
