/** Regions by what AWS calls them, and roles that the configured STS cannot open. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { STSClient } from '@aws-sdk/client-sts';
import { ProviderError } from '../contract.ts';
import { publicSts } from './clients.ts';
import { awsParams } from './params.ts';
import { partitionOfRegion } from './partition.ts';
import { planFor } from './session-policy.ts';
import { awsSettings } from './settings.ts';

const roleIn = (partition: string) => `arn:${partition}:iam::111122223333:role/writ-orders`;
const s3 = { service: 's3', bucket: 'orders', access: 'read' };

test('regions are known by how they are called, not by a list', () => {
  for (const region of [
    'eu-west-1',
    'us-gov-west-1',
    'eusc-de-east-1',
    'cn-north-1',
    'us-isob-east-1',
    'ap-southeast-12',
  ])
    assert.ok(awsParams.safeParse({ ...s3, role: roleIn('aws'), region }).success, region);
  for (const region of ['', 'eu', 'eu-west', 'EU-west-1', 'eu-west-1/x', '*', 'eu-west-1 ', 'eu-west-123'])
    assert.equal(awsParams.safeParse({ ...s3, role: roleIn('aws'), region }).success, false, region);
  assert.equal(partitionOfRegion('eu-central-1'), 'aws');
  assert.equal(partitionOfRegion('eusc-de-east-1'), 'aws-eusc');
  assert.equal(partitionOfRegion('moon-far-side-1'), null);
});

test('a role of another partition than the region’s is refused at start, in words', () => {
  const parse = (env: Record<string, string>) => awsSettings.safeParse(env);
  const wrong = parse({ WRIT_AWS_ROLES: `${roleIn('aws')},${roleIn('aws-cn')}`, AWS_REGION: 'eu-west-1' });
  assert.deepEqual(
    wrong.error?.issues.map(({ path, message }) => [path, message]),
    [
      [
        ['WRIT_AWS_ROLES'],
        `WRIT_AWS_ROLES names ${roleIn('aws-cn')}, a role of the partition aws-cn, but AWS_REGION=eu-west-1 is of aws, whose STS cannot open it: set AWS_REGION to a region of aws-cn`,
      ],
    ],
  );
  const revoker = parse({
    WRIT_AWS_ROLES: roleIn('aws-eusc'),
    WRIT_AWS_REVOKE_ROLE: `${roleIn('aws')}-revoker`,
    AWS_REGION: 'eusc-de-east-1',
  });
  assert.deepEqual(
    revoker.error?.issues.map(({ path }) => path),
    [['WRIT_AWS_REVOKE_ROLE']],
  );
  // The region's default is of aws.
  assert.equal(parse({ WRIT_AWS_ROLES: roleIn('aws-cn') }).success, false);
  for (const [partition, region] of [
    ['aws-cn', 'cn-northwest-1'],
    ['aws-us-gov', 'us-gov-east-1'],
    ['aws-eusc', 'eusc-de-east-1'],
    ['aws-later', 'moon-far-side-1'],
  ] as const)
    assert.ok(parse({ WRIT_AWS_ROLES: roleIn(partition), AWS_REGION: region }).success, partition);
  // A store of one's own calls them as it likes.
  assert.ok(
    parse({ WRIT_AWS_ROLES: roleIn('aws'), AWS_REGION: 'cn-north-1', AWS_ENDPOINT_URL: 'http://127.0.0.1' }).success,
  );
});

test('region and ARNs of a plan are of the role’s partition', () => {
  const settings = awsSettings.parse({ WRIT_AWS_ROLES: roleIn('aws-cn'), AWS_REGION: 'cn-north-1' });
  const plan = (params: object) => planFor(awsParams.parse({ role: roleIn('aws-cn'), ...params }), 900, settings);
  const at = (path: string) => (error: unknown) =>
    error instanceof ProviderError &&
    error.code === 'bad_params' &&
    error.path === path &&
    /partition/.test(error.message);
  assert.throws(() => plan({ ...s3, region: 'eu-west-1' }), at('region'));
  const queue = 'arn:aws:sqs:eu-west-1:111122223333:orders';
  assert.throws(() => plan({ service: 'sqs', access: 'send', queue }), at('queue'));
  const statement = { actions: ['s3:GetObject'], resources: ['arn:aws-cn:s3:::a', 'arn:aws:s3:::b'] };
  assert.throws(() => plan({ service: 'custom', statements: [statement] }), at('statements.0.resources.1'));
  assert.throws(
    () => plan({ service: 'managed', policies: ['arn:aws:iam::aws:policy/ReadOnlyAccess'] }),
    at('policies.0'),
  );
  const { permission } = plan({ ...s3, region: 'cn-north-1' });
  assert.match(JSON.stringify(permission), /arn:aws-cn:s3:::orders/);
});

test('the time is asked of the STS that the SDK itself would call', () => {
  const host = (region: string) => {
    const sts = new STSClient({ region, credentials: { accessKeyId: 'none', secretAccessKey: 'none' } });
    return new URL(publicSts(sts, region)).host;
  };
  assert.deepEqual(['eusc-de-east-1', 'cn-north-1', 'eu-west-1'].map(host), [
    'sts.eusc-de-east-1.amazonaws.eu',
    'sts.cn-north-1.amazonaws.com.cn',
    'sts.eu-west-1.amazonaws.com',
  ]);
});
