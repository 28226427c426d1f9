/**
 * Whatever a reviewer picks or types, what comes of it may do nothing that the request could not: for each
 * provider, asked of an interpreter of its own that is no part of the provider.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { levels as awsLevels } from '../../providers/aws/levels.ts';
import { policyText } from '../../providers/aws/literal.ts';
import { narrower as awsNarrower } from '../../providers/aws/narrower.ts';
import { awsParams } from '../../providers/aws/params.ts';
import { planFor as awsPlan } from '../../providers/aws/session-policy.ts';
import type { AwsSettings } from '../../providers/aws/settings.ts';
import type { Provider } from '../../providers/contract.ts';
import { levels as gcpLevels } from '../../providers/gcp/levels.ts';
import { narrower as gcpNarrower } from '../../providers/gcp/narrower.ts';
import { params as gcpParams } from '../../providers/gcp/params.ts';
import { asJson, planPermission } from '../../providers/gcp/permission.ts';
import type { GcpSettings } from '../../providers/gcp/settings.ts';
import { levels as githubLevels } from '../../providers/github/levels.ts';
import { narrower as githubNarrower } from '../../providers/github/narrower.ts';
import { params as githubParams } from '../../providers/github/params.ts';
import { planFor as githubPlan, permissionOf } from '../../providers/github/plan.ts';
import { levels as postgresLevels } from '../../providers/postgres/levels.ts';
import { narrower as postgresNarrower } from '../../providers/postgres/narrower.ts';
import { params as postgresParams } from '../../providers/postgres/params.ts';
import { type PlannedTable, planFor as postgresPlan } from '../../providers/postgres/plan.ts';
import { evaluate, parsePolicy } from '../../sandbox/aws/policy.ts';
import { boundaryAllows, parseBoundary } from '../../sandbox/gcp/boundary.ts';
import { WritError } from '../core/errors.ts';
import type { JsonObject, Plan } from '../core/vocabulary.ts';
import { type Level, levelsOf, narrowedPlan } from './narrow-plan.ts';

const role = 'arn:aws:iam::123456789012:role/agents';
const awsSettings = { WRIT_AWS_ROLES: [role] } as unknown as AwsSettings;
const gcpSettings = {
  WRIT_GCP_SERVICE_ACCOUNTS: ['a@p.iam.gserviceaccount.com'],
  WRIT_GCP_SHARED_SERVICE_ACCOUNTS: [],
} as unknown as GcpSettings;

/** The pure side of a provider, as `index.ts` puts it together. */
const pure = (name: string, side: object) => ({ name, ...side }) as unknown as Provider;
const aws = pure('aws', {
  params: awsParams,
  plan: (given: never, ttl: number) => awsPlan(given, ttl, awsSettings),
  narrower: awsNarrower,
  levels: awsLevels,
});
const gcp = pure('gcp', {
  params: gcpParams,
  plan: (given: never, ttl_seconds: number) => ({
    provider: 'gcp',
    permission: asJson(planPermission(gcpSettings, given)),
    ttl_seconds,
  }),
  narrower: gcpNarrower,
  levels: gcpLevels,
});
const github = pure('github', {
  params: githubParams,
  plan: (given: never, ttl: number) => githubPlan(given, ttl, null),
  narrower: githubNarrower,
  levels: githubLevels,
});
const postgres = pure('postgres', {
  params: postgresParams,
  plan: (given: never, ttl: number) => postgresPlan(given, ttl, { database: 'shop', hasReplica: true }),
  narrower: postgresNarrower,
  levels: postgresLevels,
});

/** Object names that a prefix may or may not take. */
const keys = [
  '',
  'a',
  'a/',
  'a/b',
  'a/b/',
  'a/b/c',
  'a/bc',
  'a/b/c/d',
  'a/./b',
  'a/../b',
  'a//b',
  'a/%2e%2e/b',
  'a/*',
  'a/*/',
  'a/x/',
  'ab/',
  'b/',
  'b/a/b/',
  'A/b/',
  'a/b*',
  'a/$',
  'a/$' + '{*}',
  "a/'",
  'a/\\',
  'a/b/../../x',
  'a/é/',
  'a/é/',
  'a\u2215b',
  '*',
  'a/?/b',
  'customers/42/',
  'customers/421/',
];

type Reach = Set<string>;
/** What a plan may do, of the requests that are tried. */
const reachOf: { [provider: string]: (plan: Plan) => Reach } = {
  aws: ({ permission }) => {
    const policy = parsePolicy(policyText(permission.session_policy as JsonObject));
    const reach: Reach = new Set();
    const ask = (action: string, resource: string, context: { [key: string]: string[] } = {}) => {
      const asked = evaluate([policy], { action, resource, context });
      if (asked === 'allow') reach.add(JSON.stringify([action, resource, context]));
    };
    for (const bucket of ['orders', 'other']) {
      for (const key of keys) {
        for (const action of ['s3:GetObject', 's3:PutObject', 's3:DeleteObject'])
          ask(action, `arn:aws:s3:::${bucket}/${key}`);
        ask('s3:ListBucket', `arn:aws:s3:::${bucket}`, { 's3:prefix': [key] });
        ask('ssm:GetParameter', `arn:aws:ssm:eu-west-1:123456789012:parameter/${key}`);
      }
      ask('s3:ListBucket', `arn:aws:s3:::${bucket}`);
    }
    for (const name of ['GetItem', 'Query', 'Scan', 'PutItem', 'DeleteItem'])
      ask(`dynamodb:${name}`, 'arn:aws:dynamodb:eu-west-1:123456789012:table/orders');
    for (const name of ['SendMessage', 'ReceiveMessage', 'DeleteMessage', 'GetQueueUrl'])
      ask(`sqs:${name}`, 'arn:aws:sqs:eu-west-1:123456789012:jobs');
    ask('sts:AssumeRole', role);
    return reach;
  },
  gcp: ({ permission }) => {
    const boundary = parseBoundary(JSON.stringify(permission.access_boundary));
    const reach: Reach = new Set();
    for (const bucket of ['orders', 'other'])
      for (const key of keys)
        for (const action of ['storage.objects.get', 'storage.objects.list', 'storage.objects.create'] as const) {
          const listing = action === 'storage.objects.list';
          const facts = {
            resourceName: `projects/_/buckets/${bucket}${listing ? '' : `/objects/${key}`}`,
            attributes: listing ? { 'storage.googleapis.com/objectListPrefix': key } : {},
          };
          if (boundaryAllows(boundary, bucket, action, facts)) reach.add(JSON.stringify([action, bucket, key]));
        }
    return reach;
  },
  github: (plan) => {
    const { repositories, permissions } = permissionOf(plan);
    const order = ['read', 'write', 'admin'];
    return new Set(
      [repositories]
        .flat()
        .flatMap((repository) =>
          Object.entries(permissions).flatMap(([name, level]) =>
            order.slice(0, order.indexOf(level) + 1).map((one) => `${repository} ${name} ${one}`),
          ),
        ),
    );
  },
  postgres: ({ permission }) =>
    new Set(
      (permission.tables as unknown as PlannedTable[]).flatMap((table) =>
        [
          ...table.read.map((column) => `read ${column}`),
          ...table.insert.map((column) => `insert ${column}`),
          ...table.update.map((column) => `update ${column}`),
          ...(table.delete ? ['delete'] : []),
        ].map((one) => `${table.schema}.${table.table} ${JSON.stringify(table.rows)} ${one}`),
      ),
    ),
};

const asked: { provider: Provider; params: JsonObject }[] = [
  ...['get', 'list', 'read', 'write', 'delete', 'read_write'].flatMap((access) => [
    { provider: aws, params: { role, service: 's3', access, bucket: 'orders' } },
    { provider: aws, params: { role, service: 's3', access, bucket: 'orders', prefix: 'a/' } },
  ]),
  { provider: aws, params: { role, service: 's3', access: 'read_write', bucket: 'orders', prefix: 'a/*/' } },
  { provider: aws, params: { role, service: 's3', access: 'get', bucket: 'orders', key: 'a/b' } },
  { provider: aws, params: { role, service: 'dynamodb', region: 'eu-west-1', access: 'read_write', table: 'orders' } },
  {
    provider: aws,
    params: { role, service: 'sqs', access: 'send_receive', queue: 'arn:aws:sqs:eu-west-1:123456789012:jobs' },
  },
  {
    provider: aws,
    params: {
      role,
      service: 'custom',
      statements: [
        {
          actions: ['ssm:GetParameter'],
          resources: ['arn:aws:ssm:eu-west-1:123456789012:parameter/b/'],
          resource_beginnings: ['arn:aws:ssm:eu-west-1:123456789012:parameter/a'],
          resource_prefixes: ['arn:aws:ssm:eu-west-1:123456789012:parameter/customers/'],
        },
      ],
    },
  },
  { provider: gcp, params: { bucket: 'orders' } },
  { provider: gcp, params: { bucket: 'orders', role: 'roles/storage.objectAdmin', prefix: 'a/' } },
  { provider: gcp, params: { buckets: [{ bucket: 'orders', prefix: 'a/' }, { bucket: 'other' }] } },
  {
    provider: github,
    params: {
      owner: 'acme',
      repositories: ['orders', 'notes'],
      permissions: {
        contents: 'write',
        pull_requests: 'write',
        metadata: 'read',
        organization_projects: 'admin',
        workflows: 'write',
      },
    },
  },
  { provider: github, params: { owner: 'acme', repositories: ['orders'], permissions: { contents: 'write' } } },
  {
    provider: postgres,
    params: {
      tables: [
        { table: 'orders', read: ['id', 'amount'], update: ['amount'], delete: true, rows: { customer_id: 42 } },
        { table: 'notes', read: ['id'], insert: ['text'], rows: 'all' },
      ],
    },
  },
];

/** What people and attackers type after, before and in place of what is there. */
const ways = [
  'b/',
  'b/c/',
  'b',
  '',
  '/',
  '//',
  './',
  '../',
  '../b/',
  'b/../',
  'b/../../',
  '..',
  '.',
  '*',
  '*/',
  '?/',
  'b*/',
  '$' + '{aws:username}/',
  '$/',
  '%2e%2e/',
  '%2F/',
  '..%2f',
  'b%00/',
  'b\u0000/',
  'b\n/',
  '\u202eb/',
  'b\u200b/',
  '\ud800/',
  '..\\',
  'b\\..\\',
  "b') || true || ('/",
  "'/",
  '"/',
  'é/',
  'e\u0301/',
  'x'.repeat(2000),
  'toString',
  '__proto__',
  'constructor/',
];
const bases = (begins: string) => [
  begins,
  '',
  begins.slice(0, -1),
  `${begins}${begins}`,
  begins.toUpperCase(),
  ` ${begins}`,
  'b/',
  '/',
  `${begins}../`,
];

/** Steps on offer, steps that are not, and texts. */
const answersTo = (level: Level): fc.Arbitrary<string> =>
  fc.oneof(
    fc.constantFrom(
      ...(level.steps ?? []).map(({ key }) => key),
      'none',
      'admin',
      'write',
      'read',
      'read_write',
      'true',
      '',
    ),
    fc
      .tuple(fc.constantFrom(...bases(level.begins ?? level.now)), fc.constantFrom(...ways))
      .map((parts) => parts.join('')),
    fc
      .tuple(fc.constantFrom(...bases(level.begins ?? level.now)), fc.string({ maxLength: 12, unit: 'grapheme' }))
      .map((parts) => parts.join('')),
  );

const isWithin = (some: Reach, all: Reach) => [...some].every((one) => all.has(one));

/** @returns null where it was refused */
function lowered(
  provider: Provider,
  params: JsonObject,
  plan: Plan,
  lower: { [pointer: string]: string | undefined },
): Plan | null {
  try {
    return narrowedPlan(provider, params, plan, [], lower as { [pointer: string]: string });
  } catch (error) {
    assert.ok(error instanceof WritError && error.code === 'bad_request', String(error));
    return null;
  }
}

const planOf = (provider: Provider, params: JsonObject) => provider.plan(provider.params.parse(params), 600);

test('no level on offer, and nothing that is typed, gives more than was asked for', () => {
  let narrowed = 0;
  for (const { provider, params } of asked) {
    const plan = planOf(provider, params);
    const before = (reachOf[provider.name] as (plan: Plan) => Reach)(plan);
    assert.ok(before.size > 0, `${JSON.stringify(params)} reaches something that is tried`);
    const levels = levelsOf(provider, params, [], {});
    const strange = [
      '/bucket',
      '/role',
      '/owner',
      '/tables/0/rows',
      '/permissions',
      '',
      '/__proto__/polluted',
      '/constructor/prototype',
      '/permissions/administration',
    ];
    const answers = fc.record(
      {
        ...Object.fromEntries(levels.map((level) => [level.pointer, answersTo(level)])),
        [strange[0] as string]: fc.constant('other'),
        ...Object.fromEntries(strange.slice(1).map((pointer) => [pointer, fc.constant('admin')])),
      },
      { requiredKeys: [] },
    );
    const own = fc.record(Object.fromEntries(levels.map((level) => [level.pointer, answersTo(level)])), {
      requiredKeys: [],
    });
    fc.assert(
      fc.property(fc.oneof({ weight: 1, arbitrary: answers }, { weight: 4, arbitrary: own }), own, (first, second) => {
        const once = lowered(provider, params, plan, first);
        if (once === null) return;
        const reach = (reachOf[provider.name] as (plan: Plan) => Reach)(once);
        assert.ok(isWithin(reach, before), `${JSON.stringify(first)} gave more`);
        narrowed += 1;
        // The next reviewer goes on from there, and not back.
        const twice = lowered(provider, params, once, { ...first, ...second });
        if (twice === null) return;
        assert.ok(
          isWithin((reachOf[provider.name] as (plan: Plan) => Reach)(twice), reach),
          `${JSON.stringify([first, second])} went back`,
        );
      }),
      { seed: 20261126, numRuns: 100 },
    );
  }
  assert.ok(narrowed > 50, `${narrowed} were narrowed: the test tries something`);
  assert.equal(({} as { polluted?: unknown }).polluted, undefined);
});

test('each step on offer is less than what stands, and is what it says', () => {
  for (const { provider, params } of asked) {
    const plan = planOf(provider, params);
    const before = (reachOf[provider.name] as (plan: Plan) => Reach)(plan);
    for (const { pointer, steps, begins } of levelsOf(provider, params, [], {}))
      for (const to of steps?.map(({ key }) => key) ?? [`${begins}b/`]) {
        const narrowed = lowered(provider, params, plan, { [pointer]: to });
        assert.ok(narrowed !== null, `${provider.name} ${pointer} ${to}`);
        const reach = (reachOf[provider.name] as (plan: Plan) => Reach)(narrowed);
        assert.ok(isWithin(reach, before) && reach.size < before.size, `${provider.name} ${pointer} ${to}`);
      }
  }
});

test('what was typed stands to the letter, and a reviewer is told what is wrong with the rest', () => {
  const params = { role, service: 's3', access: 'read', bucket: 'orders', prefix: 'a/' };
  const plan = planOf(aws, params);
  const refused = (to: string) => lowered(aws, params, plan, { '/prefix': to }) === null;
  assert.deepEqual(lowered(aws, params, plan, { '/prefix': 'a/b/' }), planOf(aws, { ...params, prefix: 'a/b/' }));
  for (const to of [
    'a/',
    'a',
    'b/',
    'A/b/',
    'a/b',
    'a//',
    'a/../',
    'a/./b/',
    'a/*/',
    'a/?/',
    'a/%2e%2e/',
    'a/$' + '{*}/',
    'a/\\/',
    'a/\u202eb/',
    ' a/b/',
  ])
    assert.ok(refused(to), to);
  assert.throws(() => narrowedPlan(aws, params, plan, [], { '/prefix': 'a/b' }), {
    detail: /prefix: must end in "\/"/,
  });
  const github2 = { owner: 'acme', repositories: ['a'], permissions: { contents: 'write', issues: 'write' } };
  assert.throws(
    () =>
      narrowedPlan(github, github2, planOf(github, github2), [], {
        '/permissions/contents': 'none',
        '/permissions/issues': 'none',
      }),
    { detail: /Leave something/ },
  );
  // A text is no step, and a step no text.
  assert.throws(
    () => narrowedPlan(github, github2, planOf(github, github2), [], { '/permissions/contents': 'writes' }),
    { code: 'bad_request' },
  );
});
