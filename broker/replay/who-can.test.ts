/** Who could ever do something: exact where it says yes or no, and honest where it says neither. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RE2JS } from 're2js';
import { type AwsParams, awsParams } from '../../providers/aws/params.ts';
import { reach } from '../../providers/aws/reach.ts';
import { planFor } from '../../providers/aws/session-policy.ts';
import type { AwsSettings } from '../../providers/aws/settings.ts';
import type { Provider } from '../../providers/contract.ts';
import { definitionOf } from '../break-glass/digest.ts';
import { readManifest } from '../manifests/read.ts';
import type { Question, WhoCanDeps } from './finding.ts';
import { common, languageOf, only, wildcards } from './pattern-language.ts';
import { publishedAs } from './record.test-support.ts';
import { whoCan } from './who-can.ts';

const role = 'arn:aws:iam::123456789012:role/writ-agents';
const aws = {
  name: 'aws',
  limits: { minTtlSeconds: 60, maxTtlSeconds: 3600, longestProviderLifetimeSeconds: 3720 },
  params: awsParams,
  plan: (params: AwsParams, ttl: number) => planFor(params, ttl, { WRIT_AWS_ROLES: [role] } as unknown as AwsSettings),
  describe: () => ({ summary: ['…'], revocability: { kind: 'eventual', text: '…' } }),
  reach,
  caselessReach: 'actions',
} as unknown as Provider;

const manifest = `apiVersion: writ/v1
agent: order-bot
owner: team:billing
description: Orders.
envelope: { wall_time: 30m }
task_types:
  customer:
    description: One customer.
    inputs:
      customer: { type: string, pattern: '[0-9]{1,6}' }
      stage: { type: string, enum: [test, live] }
  any: { description: Any., inputs: { bucket: { type: string, pattern: '[a-z]+-reports' } } }
capabilities:
  write-orders:
    description: Writes orders.
    provider: aws
    tasks: [customer]
    tier: 2
    max_ttl: 15m
    params: { role: '${role}', service: s3, access: write, bucket: 'orders-\${inputs.stage}', prefix: 'customers/\${inputs.customer}/' }
  reports:
    description: Reads and writes reports.
    provider: aws
    tasks: [any]
    tier: 1
    max_ttl: 15m
    params: { role: '${role}', service: s3, bucket: '\${inputs.bucket}' }
    choose: { access: { type: string, enum: [read, read_write], default: read } }
  named:
    description: By name.
    provider: aws
    tasks: [customer]
    tier: 1
    max_ttl: 15m
    params:
      role: '${role}'
      service: custom
      statements: [{ actions: ['dynamodb:Get*'], resource_beginnings: ['arn:aws:dynamodb:eu-central-1:123456789012:table/x*x'] }]
tools:
  send_mail: { destination: [to] }
  post: { destination: [url], args: { url: { pattern: 'https://[a-z]+[.]example[.]com/.*' } }, tasks: [any] }
  answer: { destination: [to], args: { to: '\${inputs.bucket}' }, tasks: [any] }
  shell: { args: { command: { enum: [ls, cat] } } }
egress: { known: ['*.example.com'] }
rules:
  - { id: out, on: { tool: [send_mail] }, when: { destination: unknown }, effect: deny }
`;

function findings(question: Question, text = manifest.replace('x*x', 'xx'), open: WhoCanDeps['open'] = []) {
  const read = readManifest(text, { aws });
  assert.ok(read.ok, JSON.stringify(read));
  const deps = {
    providers: new Map([['aws', aws]]),
    digest: (one: string) => one,
    now: new Date('2026-11-26T12:00:00Z'),
    open,
  };
  return whoCan(deps, publishedAs(read.compiled, 1), question);
}
const answers = (question: Question) =>
  Object.fromEntries(findings(question).map(({ name, task_type, answer }) => [`${name}/${task_type}`, answer]));
const s3 = (action: string, resource: string) =>
  answers({ provider: 'aws', action, resource: `arn:aws:s3:::${resource}` });

test('a bucket, an object, an action: by every value of the parameters', () => {
  assert.deepEqual(s3('s3:PutObject', 'orders-live/*'), {
    'write-orders/customer': 'yes',
    'reports/any': 'no',
    'named/customer': 'no',
  });
  assert.deepEqual(s3('s3:PutObject', 'orders-prod/*'), {
    'write-orders/customer': 'no',
    'reports/any': 'no',
    'named/customer': 'no',
  });
  assert.deepEqual(s3('S3:PUTOBJECT', 'week-reports/x'), {
    'write-orders/customer': 'no',
    'reports/any': 'yes',
    'named/customer': 'no',
  });
  assert.deepEqual(s3('s3:PutObject', 'WEEK-reports/x')['reports/any'], 'no');
  assert.deepEqual(s3('s3:DeleteObject', '*'), {
    'write-orders/customer': 'no',
    'reports/any': 'no',
    'named/customer': 'no',
  });
  assert.deepEqual(s3('s3:PutObject', 'orders-live/customers/42/*')['write-orders/customer'], 'yes');
  assert.deepEqual(s3('s3:PutObject', 'orders-live/customers/x/*')['write-orders/customer'], 'no', 'no such customer');
  assert.deepEqual(
    s3('s3:PutObject', 'orders-live/customers/1234567/*')['write-orders/customer'],
    'no',
    'one digit too many',
  );
  assert.deepEqual(s3('s3:*', 'orders-t?st/*')['write-orders/customer'], 'yes', 'both sides may be patterns');
});

test('a yes comes with a session, and with what stands before it', () => {
  const [found] = findings({
    provider: 'aws',
    action: 's3:PutObject',
    resource: 'arn:aws:s3:::orders-live/customers/42/a',
  });
  assert.deepEqual(found?.example, { inputs: { customer: '42', stage: 'live' }, params: {}, needs_approval: true });
  const list = findings({ provider: 'aws', action: 's3:ListBucket', resource: '*' }).find(
    ({ name }) => name === 'reports',
  );
  assert.equal(list?.answer, 'yes');
});

test('what a rule refuses and the manifest marks is a yes by break-glass alone; those open now are named', () => {
  const marked = (rule: string) =>
    manifest.replace('x*x', 'xx').replace('tier: 2', 'tier: 2\n    break_glass: true').concat(rule);
  const question = { provider: 'aws', action: 's3:PutObject', resource: 'arn:aws:s3:::orders-live/*' };
  const of = (text: string, open: WhoCanDeps['open'] = []) =>
    findings(question, text, open).find(({ name }) => name === 'write-orders');
  // Without the rule, it spares people's approval.
  assert.deepEqual([of(marked(''))?.answer, of(marked(''))?.break_glass], ['yes', { needed: false, open: [] }]);
  const denied = marked(`  - { id: frozen, on: { capability: write-orders }, effect: deny }\n`);
  assert.deepEqual([of(denied)?.answer, of(denied)?.break_glass], ['yes', { needed: true, open: [] }]);
  assert.equal(of(denied)?.example?.needs_approval, undefined);
  // Nobody could: it is not marked; or the rule says that something is wrong with the agent.
  const unmarked = of(denied.replace('    break_glass: true\n', ''));
  assert.deepEqual([unmarked?.answer, unmarked?.break_glass], ['cannot_tell', undefined]);
  assert.notEqual(
    of(denied.replace('capability: write-orders }, effect: deny', 'capability: write-orders }, effect: terminate'))
      ?.break_glass?.needed,
    true,
  );

  const read = readManifest(denied, { aws });
  assert.ok(read.ok);
  const capability = read.compiled.manifest.capabilities['write-orders']!;
  const glass = {
    id: 'bgl_one',
    agent: 'order-bot',
    session: 'ses_one',
    capabilities: [{ name: 'write-orders', definition: definitionOf(capability) }],
    expiresAt: new Date('2026-11-26T12:20:00Z'),
  };
  const others = [
    { ...glass, id: 'bgl_other_agent', agent: 'other-bot' },
    { ...glass, id: 'bgl_other_words', capabilities: [{ name: 'write-orders', definition: 'sha256:else' }] },
    { ...glass, id: 'bgl_other_capability', capabilities: [{ ...glass.capabilities[0]!, name: 'reports' }] },
  ];
  assert.deepEqual(of(denied, [glass, ...others])?.break_glass?.open, [
    { id: 'bgl_one', session: 'ses_one', expires_at: '2026-11-26T12:20:00.000Z' },
  ]);
});

test('what a session may only hand on, a child of it could do', () => {
  const text = manifest.replace('x*x', 'xx').replace('tier: 2', 'tier: 2\n    delegate_only: true');
  const [found] = findings({ provider: 'aws', action: 's3:PutObject', resource: '*' }, text);
  assert.deepEqual([found?.answer, found?.because], ['yes', ['in a child session that it was handed on to']]);
});

test('patterns of the manifest meet patterns of the question', () => {
  const table = (name: string) =>
    answers({
      provider: 'aws',
      action: 'dynamodb:GetItem',
      resource: `arn:aws:dynamodb:eu-central-1:123456789012:table/${name}`,
    })['named/customer'];
  assert.equal(table('xx-1'), 'yes');
  assert.equal(table('y'), 'no');
  assert.equal(table('*y'), 'yes', 'xxy');
});

test('what a provider does not say, nobody tells', () => {
  const { reach: _, ...silent } = aws;
  const read = readManifest(manifest.replace('x*x', 'xx'), { aws });
  assert.ok(read.ok);
  const deps = {
    providers: new Map([['aws', silent as Provider]]),
    digest: (one: string) => one,
    now: new Date(),
    open: [],
  };
  const found = whoCan(deps, publishedAs(read.compiled, 1), { provider: 'aws', action: 's3:*', resource: '*' });
  assert.ok(found.every(({ answer }) => answer === 'cannot_tell'));
  const none = whoCan({ ...deps, providers: new Map() }, publishedAs(read.compiled, 1), {
    provider: 'aws',
    action: 's3:*',
    resource: '*',
  });
  assert.deepEqual(none[0]?.because, ['the provider aws is not switched on here']);
});

test('tools, and where they send', () => {
  assert.deepEqual(answers({ tool: 'shell' }), { 'shell/customer': 'yes', 'shell/any': 'yes' });
  assert.deepEqual(answers({ tool: 'rm' }), {});
  const host = (name: string) => answers({ host: name });
  assert.equal(host('api.example.com')['post/any'], 'yes');
  assert.equal(host('evil.test')['post/any'], 'no');
  assert.equal(host('example.com')['post/any'], 'no');
  assert.equal(host('api.example.com')['send_mail/any'], 'yes');
  assert.equal(host('evil.test')['send_mail/any'], 'cannot_tell', 'a rule stands against it, as far as was tried');
  assert.equal(host('evil.test')['shell/any'], 'cannot_tell', 'it does not say where it sends');
  assert.equal(host('evil.test')['answer/any'], 'no');
});

test('a text that two patterns have in common is found exactly where there is one', () => {
  const patterns = fc.stringMatching(/^(?:[ab?*]|\\\*){0,6}$/);
  const matches = (pattern: string, text: string) => common(wildcards(pattern), only(text)) !== null;
  const naive = (pattern: string, text: string) => {
    const source = pattern.replace(/\\\*|[*?]/g, (one) => (one === '*' ? '.*' : one === '?' ? '.' : '\\*'));
    return new RegExp(`^(?:${source})$`, 's').test(text);
  };
  const texts = fc.stringMatching(/^[ab*]{0,5}$/);
  fc.assert(
    fc.property(patterns, texts, (pattern, text) => assert.equal(matches(pattern, text), naive(pattern, text))),
    { seed: 7, numRuns: 2000 },
  );
  fc.assert(
    fc.property(patterns, patterns, fc.array(texts, { maxLength: 20 }), (one, other, tried) => {
      const met = common(wildcards(one), wildcards(other));
      if (met !== null) assert.ok(naive(one, met.text) && naive(other, met.text), met.text);
      else for (const text of tried) assert.ok(!(naive(one, text) && naive(other, text)), text);
    }),
    { seed: 8, numRuns: 2000 },
  );
});

test('RE2 patterns are read as RE2 reads them', () => {
  const atoms = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '\\d', '\\.', '(?:a|b)', '(ab)', '[a-c0-1]', '\\w');
  const counts = fc.constantFrom('', '*', '+', '?', '{2}', '{1,2}', '{1,}', '*?');
  const branch = fc
    .array(
      fc.tuple(atoms, counts).map((both) => both.join('')),
      { maxLength: 4 },
    )
    .map((all) => all.join(''));
  const pattern = fc.array(branch, { minLength: 1, maxLength: 2 }).map((all) => all.join('|'));
  fc.assert(
    fc.property(pattern, fc.stringMatching(/^[abc01.\n]{0,5}$/), (source, text) => {
      const language = languageOf(source);
      assert.ok(language.exact, source);
      assert.equal(
        common(language, only(text)) !== null,
        RE2JS.compile(source).matches(text),
        JSON.stringify([source, text]),
      );
    }),
    { seed: 9, numRuns: 3000 },
  );
  for (const source of ['(?i)a', '\\pL', '\\bx', '[[:alpha:]]']) {
    assert.equal(languageOf(source).exact, false, source);
    assert.ok(common(languageOf(source), only('anything at all')) !== null, 'too much, never too little');
  }
});
