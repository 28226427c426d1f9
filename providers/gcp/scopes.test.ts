/** Scopes beside Google's usual ones, and beginnings of names that end in an input: taken, with a warning. */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are a manifest's inputs, not JavaScript's
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe } from './describe.ts';
import { narrower } from './narrower.ts';
import { advise, params } from './params.ts';
import { asJson, planPermission } from './permission.ts';
import { settings } from './settings.ts';

const config = settings.parse({
  WRIT_GCP_SERVICE_ACCOUNTS: 'writ-1@demo-project.iam.gserviceaccount.com',
  WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER:
    'projects/123456789012/locations/global/workloadIdentityPools/writ/providers/broker',
});
const planOf = (...scopes: string[]) => ({
  provider: 'gcp',
  permission: asJson(planPermission(config, params.parse({ scopes }))),
  ttl_seconds: 900,
});
const scopeLine = (...scopes: string[]) => describe(planOf(...scopes), 120).summary.at(-1);

test('what Google calls a scope is taken; one that is not among its usual ones is warned about', () => {
  const odd = [
    'https://mail.google.com/',
    'https://www.google.com/m8/feeds',
    'https://spreadsheets.google.com/feeds',
    'openid',
    'email',
    'profile',
  ];
  for (const scope of odd) {
    assert.equal(params.safeParse({ scopes: [scope] }).success, true, scope);
    const [warned, ...more] = advise({ scopes: ['https://www.googleapis.com/auth/bigquery', scope] });
    assert.deepEqual([warned?.path, more], [['scopes', 1], []], scope);
    assert.match(warned?.message ?? '', /Google says whether it exists/);
  }
  assert.deepEqual(advise({ scopes: ['${inputs.scope}', 7] }), []);
  for (const nothing of [null, undefined, 'x', [], { scopes: 'x', buckets: [null, 3] }])
    assert.deepEqual(advise(nothing), []);
});

test('what could be two scopes, or is not of Google, is not taken', () => {
  for (const scope of [
    'https://mail.google.com/ https://www.googleapis.com/auth/cloud-platform',
    'https://mail.google.com/\n',
    'openid email',
    'openid\u0000',
    'OpenID',
    'https://mail.google.com/\u00a0x',
    'https://mail.google.com/?a=b',
    'https://mail.google.com/%20x',
    'https://mail.google.com,x',
    'http://mail.google.com/',
    'https://google.com.evil.example/auth/x',
    'https://evilgoogle.com/',
    'https://user@mail.google.com/',
    '',
    `https://mail.google.com/${'x'.repeat(200)}`,
  ])
    assert.equal(params.safeParse({ scopes: [scope] }).success, false, JSON.stringify(scope));
});

test('the plan says each to the letter: a word reads unlike the scope of the same name', () => {
  assert.equal(scopeLine('https://mail.google.com/'), 'OAuth scopes: https://mail.google.com/');
  assert.equal(scopeLine('openid'), 'OAuth scopes: openid (OpenID Connect)');
  assert.equal(scopeLine('https://www.googleapis.com/auth/openid'), 'OAuth scopes: openid');
  assert.equal(narrower(planOf('openid'), planOf('openid', 'email')), true);
  assert.equal(narrower(planOf('email'), planOf('https://www.googleapis.com/auth/email')), false);
});

test('a beginning of names that ends in an input is warned about: it reaches the neighbours', () => {
  const begins = { bucket: 'orders', name_begins: 'customers/${inputs.customer_id}' };
  const [warned] = advise(begins);
  assert.deepEqual(warned?.path, ['name_begins']);
  assert.match(warned?.message ?? '', /^ends in the input customer_id, .* of 4, those of 42 too/);
  assert.deepEqual(
    advise({ buckets: [{ bucket: 'orders', prefix: 'a/' }, begins] }).map(({ path }) => path),
    [['buckets', 1, 'name_begins']],
  );
  assert.deepEqual(advise({ ...begins, name_begins: 'customers/${inputs.customer_id}-' }), []);
});
