import assert from 'node:assert/strict';
import { test } from 'node:test';
import { person } from '../../approvals/rows.test-support.ts';
import {
  GroupsNotDelivered,
  identityFromClaims,
  isApprover,
  isSamePerson,
  likeness,
  personRef,
  UnreadableClaim,
} from './identity.ts';

const names = { groupsClaim: 'groups', aliasClaims: [{ kind: 'github_login', claim: 'github_login' }] };

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
  assert.deepEqual(identity, {
    issuer: 'https://login.example',
    subject: '7',
    groups: ['a', 'b'],
    aliases: [{ kind: 'github_login', value: 'octo' }],
  });
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

const email = (value: string) => ({ kind: 'email', value });

test('a party is recognised in every spelling of a name of its kind, and in no other kind', () => {
  const owner = person('owner@example.com', {
    username: 'owner',
    aliases: [{ kind: 'github_login', value: 'octo-owner' }],
    former: [email('before@example.com')],
  });
  for (const party of [
    email('owner@example.com'),
    email('Owner@Example.COM'),
    email('owner@EXAMPLE.com.'),
    email('ｏｗｎｅｒ@example.com'),
    email('ow\u200bner@example.com'),
    email('before@example.com'),
    { kind: 'username', value: 'Owner' },
    { kind: 'github_login', value: 'OCTO-OWNER' },
    { kind: 'subject', value: 'sub-owner@example.com', issuer: 'https://login.example' },
    { kind: null, value: 'octo-owner' },
    { kind: null, value: 'sub-owner@example.com' },
  ]) {
    assert.equal(likeness(owner, party), 'same', JSON.stringify(party));
  }
  for (const party of [
    email('reviewer@example.com'),
    email('owner@example.org'),
    email('owner+tag@example.com'),
    { kind: 'username', value: 'octo-owner' },
    { kind: 'github_login', value: 'owner' },
    { kind: 'subject', value: 'owner', issuer: 'https://login.example' },
    { kind: null, value: 'somebody' },
  ]) {
    assert.equal(likeness(owner, party), 'other', JSON.stringify(party));
  }
  for (const party of [
    { kind: 'oid', value: '1' },
    { kind: 'gitlab_login', value: 'octo-owner' },
    { kind: 'subject', value: 'sub-owner@example.com', issuer: 'https://other.example' },
  ]) {
    assert.equal(likeness(owner, party), 'unknown', JSON.stringify(party));
  }
});

test('an unverified e-mail proves nothing, still counts against its holder, and tells nobody apart', () => {
  for (const emailVerified of [false, undefined]) {
    const { emailVerified: _, ...unproven } = person('owner@example.com');
    const owner = emailVerified === undefined ? unproven : { ...unproven, emailVerified };
    assert.equal(likeness(owner, email('owner@example.com')), 'same');
    assert.equal(likeness(owner, email('other@example.com')), 'unknown');
    assert.ok(!isApprover(owner, ['user:owner@example.com']));
    assert.equal(personRef(owner), 'user:sub-owner@example.com');
  }
  assert.ok(isApprover(person('owner@example.com'), ['user:Owner@example.com']));
});

test('an e-mail is verified by what stands beside it, not by another place that names another address', () => {
  const read = (signed: Record<string, unknown>, more: Record<string, unknown>) =>
    identityFromClaims({ iss: 'i', sub: 's', ...signed }, names, more);
  const verified = { email: 'mine@example.com', email_verified: true };
  const taken = read({ email: 'owner@example.com' }, verified);
  assert.deepEqual([taken.email, taken.emailVerified], ['owner@example.com', undefined]);
  assert.ok(!isApprover(taken, ['user:owner@example.com', 'user:mine@example.com']));
  for (const [signed, more] of [
    [{}, verified],
    [{ email: 'Mine@example.com' }, verified],
    [verified, { email: 'other@example.com', email_verified: false }],
    [verified, {}],
  ] as const)
    assert.ok(isApprover(read(signed, more), ['user:mine@example.com']), JSON.stringify([signed, more]));
});

test('one account stays one person over its history of e-mails, and two accounts of one e-mail are one', () => {
  const now = person('new@example.com', { subject: '7', former: [email('old@example.com')] });
  assert.equal(likeness(now, email('old@example.com')), 'same');
  assert.ok(isSamePerson(now, person('old@example.com', { subject: '8' })));
  assert.ok(isSamePerson(person('a@example.com', { subject: '7' }), now));
  assert.ok(!isSamePerson(now, person('b@example.com', { subject: '9' })));
});

test('groups: nested claims, one text with commas or spaces, names as the provider spells them', () => {
  const read = (claims: Record<string, unknown>, groupsClaim = 'groups', more = {}) =>
    identityFromClaims({ iss: 'i', sub: 's', ...claims }, { ...names, groupsClaim, ...more });
  assert.deepEqual(read({ realm_access: { roles: ['a'] } }, 'realm_access.roles').groups, ['a']);
  assert.deepEqual(read({ 'https://x.example/groups': ['a'] }, 'https://x.example/groups').groups, ['a']);
  assert.deepEqual(read({ 'https://x.example': { 'y.z': ['a'] } }, 'https://x.example.y.z').groups, ['a']);
  assert.deepEqual(read({ groups: 'billing, storage' }).groups, ['billing', 'storage']);
  assert.deepEqual(read({ groups: 'billing storage' }).groups, ['billing', 'storage']);
  assert.deepEqual(read({ groups: 'Ops Team,storage' }).groups, ['Ops Team', 'storage']);
  assert.deepEqual(read({ groups: 'Ops Team' }, 'groups', { groupsSeparator: 'none' }).groups, ['Ops Team']);
  const odd = ['/team/sub', 'Ops & Billing', 'a@b:c', 'e\u0301quipe', "o'brien, and co"];
  const identity = read({ groups: odd });
  for (const group of odd) assert.ok(isApprover(identity, [`team:${group}`]), group);
  assert.ok(isApprover(identity, ['team:\u00e9quipe']), 'one letter in two spellings');
  assert.ok(!isApprover(identity, ['team:team/sub']));
});

test('groups that were not delivered are not read as none', () => {
  const read = (claims: Record<string, unknown>) => identityFromClaims({ iss: 'i', sub: 's', ...claims }, names);
  for (const pointer of [
    { _claim_names: { groups: 'src1' }, _claim_sources: { src1: { endpoint: 'https://graph.example' } } },
    { hasgroups: true },
    { hasgroups: 'true' },
  ])
    assert.throws(() => read(pointer), GroupsNotDelivered);
  assert.deepEqual(read({ hasgroups: true, groups: ['a'] }).groups, ['a']);
  assert.equal(read({}).groupsUnknown, true);
  for (const groups of [null, 7, true, { a: true }, [{ name: 'a' }], [7], [null], [['a']]])
    assert.equal(read({ groups }).groupsUnknown, true, JSON.stringify(groups));
  for (const groups of [[], '', 'a', ['a', 7]])
    assert.equal(read({ groups }).groupsUnknown, undefined, JSON.stringify(groups));
});

test('an owner may be named by another kind of name than an e-mail, when it says so', () => {
  const reviewer = person("o'brien@example.com", {
    username: 'second',
    aliases: [
      { kind: 'oid', value: '0a-1' },
      { kind: 'github_login', value: 'octo' },
    ],
  });
  for (const owner of [
    "user:o'brien@example.com",
    'user:oid:0a-1',
    'user:github_login:octo',
    `user:subject:${reviewer.subject}`,
  ])
    assert.ok(isApprover(reviewer, [owner]), owner);
  for (const owner of ['user:oid:0A-1', 'user:octo', 'user:username:second', 'user:gitlab_login:octo'])
    assert.ok(!isApprover(reviewer, [owner]), owner);
});

test('approvers: groups match exactly, user names and bare words match nobody', () => {
  const reviewer = person('reviewer@example.com', {
    groups: ['billing'],
    username: 'second@example.com',
    aliases: [{ kind: 'github_login', value: 'second@example.com' }],
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

test('a name that cannot be stored or seen is refused by the claim’s name, not by the database', () => {
  const good = { iss: 'https://login.example', sub: '7', email: 'a@example.com', groups: ['a'] };
  for (const text of ['a\u0000b', 'a\ud800', 'a\u0007', 'a\nb'])
    for (const claim of ['sub', 'email', 'name', 'preferred_username', 'oid', 'github_login', 'groups'])
      for (const value of claim === 'groups' || claim === 'github_login' ? [text, [text]] : [text])
        assert.throws(
          () => identityFromClaims({ ...good, [claim]: value }, names),
          (error: unknown) =>
            error instanceof UnreadableClaim && error.claim === claim && !error.message.includes(text),
          `${claim} ${JSON.stringify(value)}`,
        );
  assert.equal(identityFromClaims({ ...good, name: 'Zoë 😀 山田' }, names).name, 'Zoë 😀 山田');
});
