import assert from 'node:assert/strict';
import { test } from 'node:test';
import { identityFromClaims, isApprover, isParty, personRef } from './identity.ts';
import { person } from './rows.fixture.ts';

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
  const alice = person('alice@example.com', { username: 'alice', aliases: ['octo-alice'] });
  for (const spelling of [
    'user:alice@example.com',
    'alice@example.com',
    'USER:Alice@Example.COM',
    ' alice@example.com ',
    'ａｌｉｃｅ@example.com',
    'al\u200bice@example.com',
    'user:alice',
    'octo-alice',
    'user:OCTO-ALICE',
    'sub-alice@example.com',
  ]) {
    assert.ok(isParty(alice, [spelling]), spelling);
  }
  for (const other of ['user:bob@example.com', 'alice@example.org', 'user:', '', 'malice@example.com', 'team:alice']) {
    assert.ok(!isParty(alice, [other]), other);
  }
});

test('an unverified e-mail proves nothing for an approver, and still counts against a party', () => {
  const alice = person('alice@example.com', { emailVerified: false });
  assert.ok(isParty(alice, ['user:alice@example.com']));
  assert.ok(!isApprover(alice, ['user:alice@example.com']));
  assert.equal(personRef(alice), 'user:sub-alice@example.com');
  assert.ok(isApprover(person('alice@example.com'), ['user:Alice@example.com']));
});

test('approvers: groups match exactly, user names and bare words match nobody', () => {
  const bob = person('bob@example.com', {
    groups: ['billing'],
    username: 'carol@example.com',
    aliases: ['carol@example.com'],
  });
  assert.ok(isApprover(bob, ['team:billing']));
  for (const none of [
    'team:Billing',
    'team:billing2',
    'team:',
    'billing',
    'bob@example.com',
    'user:carol@example.com',
    'user:',
  ]) {
    assert.ok(!isApprover(bob, [none]), none);
  }
  assert.ok(!isApprover(bob, []));
});
