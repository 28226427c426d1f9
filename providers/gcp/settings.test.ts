import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gcp } from './index.ts';
import { endpointOf } from './settings.ts';

const workloadProvider = 'projects/123456789012/locations/global/workloadIdentityPools/writ/providers/broker';
const goodEnvironment = {
  WRIT_GCP_SERVICE_ACCOUNTS: 'writ-1@demo-project.iam.gserviceaccount.com, writ-2@demo-project.iam.gserviceaccount.com',
  WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: workloadProvider,
};

const faults = (environment: object) =>
  gcp.settings.safeParse(environment).error?.issues.map((issue) => issue.path.join('.')) ?? [];

test('a whole configuration is taken, with defaults', () => {
  const settings = gcp.settings.parse(goodEnvironment);
  assert.equal(settings.WRIT_GCP_SERVICE_ACCOUNTS.length, 2);
  assert.equal(settings.WRIT_GCP_REVOKE_LAG_SECONDS, 120);
  assert.equal(settings.WRIT_GCP_TRANSPORT, 'rest');
  assert.equal(endpointOf(settings, 'WRIT_GCP_STS_ENDPOINT'), 'https://sts.googleapis.com');
});

test('a half configured provider names the variable', () => {
  const { WRIT_GCP_SERVICE_ACCOUNTS: accounts } = goodEnvironment;
  assert.deepEqual(faults({ WRIT_GCP_SERVICE_ACCOUNTS: accounts }), ['WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER']);
  assert.deepEqual(faults({ WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: workloadProvider }), ['WRIT_GCP_SERVICE_ACCOUNTS']);
  assert.deepEqual(faults({ WRIT_GCP_TRANSPORT: 'grpc' }), [
    'WRIT_GCP_SERVICE_ACCOUNTS',
    'WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER',
  ]);
});

test('malformed and contradictory values name the variable', () => {
  const cases: [object, string][] = [
    [{ WRIT_GCP_SERVICE_ACCOUNTS: 'not-an-email' }, 'WRIT_GCP_SERVICE_ACCOUNTS'],
    [
      { WRIT_GCP_SHARED_SERVICE_ACCOUNTS: 'writ-1@demo-project.iam.gserviceaccount.com' },
      'WRIT_GCP_SHARED_SERVICE_ACCOUNTS',
    ],
    [{ WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: 'my-provider' }, 'WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER'],
    [{ WRIT_GCP_AMBIENT_CREDENTIALS: '1' }, 'WRIT_GCP_AMBIENT_CREDENTIALS'],
    [{ WRIT_GCP_REVOKE_LAG_SECONDS: '-1' }, 'WRIT_GCP_REVOKE_LAG_SECONDS'],
    [{ WRIT_GCP_BROKER_SUBJECT: 'invoice-bot' }, 'WRIT_GCP_BROKER_SUBJECT'],
    [{ WRIT_GCP_REVOKE_LAG_SECONDS: '9999' }, 'WRIT_GCP_REVOKE_LAG_SECONDS'],
    [{ WRIT_GCP_BROKER_SUBJECT: 'x'.repeat(128) }, 'WRIT_GCP_BROKER_SUBJECT'],
    [{ GOOGLE_CLOUD_PROJECT: 'No Such' }, 'GOOGLE_CLOUD_PROJECT'],
    [{ WRIT_GCP_TRANSPORT: 'pigeon' }, 'WRIT_GCP_TRANSPORT'],
  ];
  for (const [more, variable] of cases) assert.deepEqual(faults({ ...goodEnvironment, ...more }), [variable]);
});

test('tokens travel in the clear only to this machine', () => {
  const faultsOf = (url: string) => faults({ ...goodEnvironment, WRIT_GCP_STS_ENDPOINT: url });
  for (const url of ['http://127.0.0.1:8080', 'http://localhost:1/', 'http://[::1]:2', 'https://private.example.com'])
    assert.deepEqual(faultsOf(url), [], url);
  for (const url of [
    'http://sts.googleapis.com',
    'http://127.0.0.1.evil.example',
    'https://u:p@x.example',
    'https://x.example/p',
    'ftp://x',
    'x',
  ])
    assert.deepEqual(faultsOf(url), ['WRIT_GCP_STS_ENDPOINT'], url);
});
