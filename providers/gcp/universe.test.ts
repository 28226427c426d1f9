/** Other universes, and projects that belong to a domain. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { ProviderError } from '../contract.ts';
import { callerFor } from './caller.ts';
import { gcpBench, sharedAccount } from './harness.test-support.ts';
import { params } from './params.ts';
import { resourceName } from './service-accounts.ts';
import { endpointOf, settings } from './settings.ts';

const pool = { WRIT_GCP_SERVICE_ACCOUNTS: 'writ-1@demo-project.iam.gserviceaccount.com' };
const federated = {
  ...pool,
  WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: 'projects/1/locations/global/workloadIdentityPools/pool/providers/writ',
};

test('every service is called in the universe that is configured, private endpoints as they are', () => {
  const read = settings.parse({
    ...federated,
    GOOGLE_CLOUD_UNIVERSE_DOMAIN: 'example-cloud.test',
    WRIT_GCP_STS_ENDPOINT: 'https://sts.internal.example',
  });
  const endpoints = ['IAM_CREDENTIALS', 'STS', 'IAM', 'STORAGE'] as const;
  assert.deepEqual(
    endpoints.map((name) => endpointOf(read, `WRIT_GCP_${name}_ENDPOINT`)),
    [
      'https://iamcredentials.example-cloud.test',
      'https://sts.internal.example',
      'https://iam.example-cloud.test',
      'https://storage.example-cloud.test',
    ],
  );
  assert.equal(endpointOf(settings.parse(federated), 'WRIT_GCP_STS_ENDPOINT'), 'https://sts.googleapis.com');
});

test('an endpoint of another universe is refused at start', () => {
  const wrong = settings.safeParse({
    ...federated,
    GOOGLE_CLOUD_UNIVERSE_DOMAIN: 'example-cloud.test',
    WRIT_GCP_IAM_ENDPOINT: 'https://iam.googleapis.com',
  });
  assert.deepEqual(
    wrong.error?.issues.map(({ message }) => message),
    ['WRIT_GCP_IAM_ENDPOINT is of the universe googleapis.com, but GOOGLE_CLOUD_UNIVERSE_DOMAIN is example-cloud.test'],
  );
  for (const GOOGLE_CLOUD_UNIVERSE_DOMAIN of ['https://x.test', 'x', 'x.test/', 'x.test:443', '*.test'])
    assert.equal(settings.safeParse({ ...federated, GOOGLE_CLOUD_UNIVERSE_DOMAIN }).success, false);
});

test('ambient credentials of another universe are not used', async () => {
  const harness = await gcpBench();
  const folder = await mkdtemp(join(tmpdir(), 'writ-universe-'));
  const path = join(folder, 'adc.json');
  const before = process.env.GOOGLE_APPLICATION_CREDENTIALS;
  try {
    const source = { file: path, format: { type: 'text' } };
    await writeFile(
      path,
      JSON.stringify({
        type: 'external_account',
        universe_domain: 'example-cloud.test',
        audience: `//iam.googleapis.com/${harness.sandbox.provider}`,
        subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
        token_url: `${harness.sandbox.url}/v1/token`,
        credential_source: source,
      }),
    );
    process.env.GOOGLE_APPLICATION_CREDENTIALS = path;
    const config = settings.parse({ ...pool, WRIT_GCP_AMBIENT_CREDENTIALS: '1' });
    const deps = { clock: harness.clock, signIdentityToken: () => Promise.reject(new Error('none')) };
    const caller = callerFor(config, deps, harness.provider.clock as never);
    const refused = await caller.token(new AbortController().signal).catch((error: ProviderError) => error);
    assert.equal((refused as ProviderError).providerCode, 'OTHER_UNIVERSE');
    assert.match(
      (refused as ProviderError).message,
      /example-cloud\.test, but GOOGLE_CLOUD_UNIVERSE_DOMAIN is googleapis\.com/,
    );
  } finally {
    if (before === undefined) delete process.env.GOOGLE_APPLICATION_CREDENTIALS;
    else process.env.GOOGLE_APPLICATION_CREDENTIALS = before;
    await harness.close();
    await rm(folder, { recursive: true });
  }
});

test('projects of a domain are known as such, in parameters, settings, roles and e-mails', async () => {
  const email = 'writ-1@reports.example.com.iam.gserviceaccount.com';
  const project = 'example.com:reports';
  const read = params.parse({ bucket: 'orders', project, role: `projects/${project}/roles/reader` });
  assert.equal(read.project, project);
  assert.equal(settings.parse({ ...federated, GOOGLE_CLOUD_PROJECT: project }).GOOGLE_CLOUD_PROJECT, project);
  for (const wrong of [
    'example.com:',
    ':reports',
    'example.com:a:reports',
    'Example.com:reports',
    'example.com:reports/x',
  ])
    assert.equal(params.safeParse({ bucket: 'orders', project: wrong }).success, false, wrong);
  assert.equal(resourceName(email), `projects/example.com%3Areports/serviceAccounts/${encodeURIComponent(email)}`);
  assert.equal(
    resourceName(sharedAccount),
    `projects/demo-project/serviceAccounts/${encodeURIComponent(sharedAccount)}`,
  );
  const harness = await gcpBench(
    { WRIT_GCP_SERVICE_ACCOUNTS: email },
    { serviceAccounts: [{ email, storage: [{ bucket: 'orders', role: 'roles/storage.objectAdmin' }] }] },
  );
  try {
    const plan = harness.plan({ bucket: 'orders', project });
    const { credential, providerExpiresAt, handle } = await harness.issue(plan);
    assert.equal(credential.project_id, project);
    const now = harness.clock.now();
    const target = {
      leaseId: 'lse_1',
      plan,
      handle,
      secret: null,
      reserved: email,
      intentAt: now,
      providerExpiresAt,
      settlingSince: null,
    };
    const [outcome] = await harness.provider.revoke([target], [], new AbortController().signal);
    assert.equal(outcome?.state, 'settling', 'it was disabled under its project’s own name');
  } finally {
    await harness.close();
  }
});
