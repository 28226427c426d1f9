/**
 * Ambient credentials: Google's own library reads an external-account file, as it would on a machine outside
 * Google.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ProviderError } from '../contract.ts';
import { gcpBench, lease, sharedAccount, storage } from './harness.test-support.ts';

const ambientEnvironment = {
  WRIT_GCP_AMBIENT_CREDENTIALS: '1',
  WRIT_GCP_WORKLOAD_IDENTITY_PROVIDER: undefined as unknown as string,
};
const goodParams = { bucket: 'orders', prefix: 'customers/42/', service_account: sharedAccount };

test('with ambient credentials the provider mints, and without usable ones it says so and leaks nothing', async () => {
  const harness = await gcpBench();
  const folder = await mkdtemp(join(tmpdir(), 'writ-gcp-'));
  const before = process.env.GOOGLE_APPLICATION_CREDENTIALS;
  try {
    const identity = await harness.identity();
    await writeFile(join(folder, 'token'), identity);
    const file = {
      type: 'external_account',
      audience: `//iam.googleapis.com/${harness.sandbox.provider}`,
      subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
      token_url: `${harness.sandbox.url}/v1/token`,
      credential_source: { file: join(folder, 'token') },
    };
    await writeFile(join(folder, 'adc.json'), JSON.stringify(file));
    process.env.GOOGLE_APPLICATION_CREDENTIALS = join(folder, 'adc.json');
    const provider = harness.make(ambientEnvironment);
    const plan = provider.plan(goodParams, 600);
    const { credential } = await provider.issue({ ...lease(), plan });
    assert.equal(await storage(harness.sandbox, credential, 'GET', 'orders', 'customers/42/a.txt'), 200);
    assert.equal(await storage(harness.sandbox, credential, 'GET', 'orders', 'customers/43/a.txt'), 403);

    await writeFile(join(folder, 'token'), 'SECRET-nonsense');
    const error = await harness
      .make(ambientEnvironment)
      .issue({ ...lease(), plan })
      .catch((thrown: unknown) => thrown);
    assert.ok(error instanceof ProviderError);
    assert.equal(error.code, 'upstream_refused');
    assert.equal(error.mayHaveMinted, false);
    assert.ok(!`${error.stack}${JSON.stringify(error)}`.includes('SECRET'));
  } finally {
    if (before === undefined) delete process.env.GOOGLE_APPLICATION_CREDENTIALS;
    else process.env.GOOGLE_APPLICATION_CREDENTIALS = before;
    await rm(folder, { recursive: true });
    await harness.close();
  }
});
