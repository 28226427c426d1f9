import assert from 'node:assert/strict';
import { test } from 'node:test';
import { person } from '../../approvals/rows.test-support.ts';
import { identityFromClaims, isApprover, isParty, personRef } from './identity.ts';

const names = { groupsClaim: 'groups', aliasClaims: ['github_login'] };

test('claims of the wrong type are left out, and iss and sub are needed', () => {
  const identity = identityFromClaims(
    {
      iss: 'https://login.example',
      sub: '7',
      email: 5,
      groups: ['a', 1, null, 'b'],
      github_login: 'octo',
      name: ['x'],
    },
    names,
  );
  assert.deepEqual(identity, { issuer: 'https://login.example', subject: '7', groups: ['a', 'b'], aliases: ['octo'] });
  assert.throws(() => identityFromClaims({ iss: 'https://login.example' }, names), TypeError);
  assert.throws(() => identityFromClaims({ sub: '7' }, names), TypeError);
  for (const [told, read] of [
    [true, true],
    [false, false],
    ['true', true],
    ['false', false],
    [null, false],
  ] as const) {
    assert.equal(identityFromClaims({ iss: 'i', sub: 's', email_verified: told }, names).emailVerified, read);
  }
});

test('a party is recognised under every name and spelling', () => {
  const owner = person('owner@example.com', { username: 'owner', aliases: ['octo-owner'] });
  for (const spelling of [
    'user:owner@example.com',
    'owner@example.com',
    'USER:Owner@Example.COM',
    ' owner@example.com ',
    'ｏｗｎｅｒ@example.com',
    'ow\u200bner@example.com',
    'user:owner',
    'octo-owner',
    'user:OCTO-OWNER',
    'sub-owner@example.com',
  ]) {
    assert.ok(isParty(owner, [spelling]), spelling);
  }
  for (const other of [
    'user:reviewer@example.com',
    'owner@example.org',
    'user:',
    '',
    'notowner@example.com',
    'team:owner',
  ]) {
    assert.ok(!isParty(owner, [other]), other);
  }
});

test('an unverified e-mail proves nothing for an approver, and still counts against a party', () => {
  const owner = person('owner@example.com', { emailVerified: false });
  assert.ok(isParty(owner, ['user:owner@example.com']));
  assert.ok(!isApprover(owner, ['user:owner@example.com']));
  assert.equal(personRef(owner), 'user:sub-owner@example.com');
  assert.ok(isApprover(person('owner@example.com'), ['user:Owner@example.com']));
});

test('approvers: groups match exactly, user names and bare words match nobody', () => {
  const reviewer = person('reviewer@example.com', {
    groups: ['billing'],
    username: 'second@example.com',
    aliases: ['second@example.com'],
  });
  assert.ok(isApprover(reviewer, ['team:billing']));
  for (const none of [
    'team:Billing',
    'team:billing2',
    'team:',
    'billing',
    'reviewer@example.com',
    'user:second@example.com',
    'user:',
  ]) {
    assert.ok(!isApprover(reviewer, [none]), none);
  }
  assert.ok(!isApprover(reviewer, []));
});
