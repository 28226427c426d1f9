import assert from 'node:assert/strict';
import { test } from 'node:test';
import { awsSettings, canRevoke } from './settings.ts';

const role = 'arn:aws:iam::111122223333:role/writ-orders';

test('one variable is enough, and the rest has safe defaults', () => {
  const settings = awsSettings.parse({ WRIT_AWS_ROLES: role, WRIT_AWS_AUTH: '', PATH: '/bin' });
  assert.deepEqual(settings, {
    WRIT_AWS_ROLES: [role],
    WRIT_AWS_AUTH: 'web_identity',
    WRIT_AWS_AUDIENCE: 'sts.amazonaws.com',
    WRIT_AWS_REVOKE_KEY: 'source_identity',
    WRIT_AWS_REVOKE_LAG_SECONDS: 60,
    WRIT_AWS_SESSION_TAGS: 'on',
    WRIT_AWS_TRY_STORE: 'on',
    WRIT_AWS_MAX_TTL_SECONDS: 3600,
    WRIT_AWS_TIMEOUT_SECONDS: 10,
    AWS_REGION: 'us-east-1',
  });
  assert.equal(canRevoke(settings), false);
  assert.equal(canRevoke(awsSettings.parse({ WRIT_AWS_ROLES: role, WRIT_AWS_AUTH: 'ambient' })), true);
  assert.equal(canRevoke(awsSettings.parse({ WRIT_AWS_ROLES: role, WRIT_AWS_REVOKE_ROLE: `${role}-revoker` })), true);
});

test('several roles, separated as people write lists; stores without accounts', () => {
  const ceph = 'arn:aws:iam:::role/S3Access';
  assert.deepEqual(awsSettings.parse({ WRIT_AWS_ROLES: ` ${role}, ${ceph}\n` }).WRIT_AWS_ROLES, [role, ceph]);
});

test('every fault names its variable', () => {
  const bad = {
    WRIT_AWS_AUTH: 'key',
    WRIT_AWS_REVOKE_ROLE: 'writ-revoker',
    WRIT_AWS_REVOKE_KEY: 'name',
    WRIT_AWS_REVOKE_LAG_SECONDS: '-1',
    WRIT_AWS_MAX_TTL_SECONDS: '50000',
    AWS_ENDPOINT_URL: 'not a url',
  };
  const result = awsSettings.safeParse(bad);
  assert.ok(!result.success);
  const named = result.error.issues.map((issue) => issue.path[0]);
  assert.deepEqual([...new Set(named)].sort(), [...Object.keys(bad), 'WRIT_AWS_ROLES'].sort());
  assert.ok(result.error.issues.some((issue) => issue.message.startsWith('WRIT_AWS_ROLES is missing')));
  assert.equal(awsSettings.safeParse({ WRIT_AWS_ROLES: `${role},*` }).success, false, 'no wildcard in the allow-list');
  assert.equal(awsSettings.safeParse({ WRIT_AWS_ROLES: ' , ' }).success, false);
});

test('agents cannot be given the role that revokes', () => {
  const result = awsSettings.safeParse({ WRIT_AWS_ROLES: role, WRIT_AWS_REVOKE_ROLE: role });
  assert.ok(!result.success);
  assert.deepEqual(
    result.error.issues.map((issue) => issue.path),
    [['WRIT_AWS_REVOKE_ROLE']],
  );
});
