import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cutCredentials } from './credentials.ts';

const letters = 'a1B2c3D4'.repeat(64);
const secrets: { [what: string]: string } = {
  'AWS access key': 'ASIAIOSFODNN7EXAMPLE',
  'AWS session token': `IQoJb3JpZ2luX2Vj${letters.slice(0, 300)}`,
  'GitHub token': `ghs_${letters.slice(0, 36)}`,
  'Google access token': `ya29.c.${letters.slice(0, 100)}`,
  'Slack token': 'xoxb-123456789012-abcdefghijkl',
  token: `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.${letters.slice(0, 86)}`,
  'private key': `-----BEGIN EC PRIVATE KEY-----\n${letters.slice(0, 200)}\n-----END EC PRIVATE KEY-----`,
};

for (const [what, secret] of Object.entries(secrets))
  test(`cuts out: ${what}, wherever it stands`, () => {
    const given = { text: `before ${secret} after`, deep: [{ more: secret, [secret]: 1 }] };
    const { value, count } = cutCredentials(given);
    assert.equal(count, 3);
    assert.ok(!JSON.stringify(value).includes(JSON.stringify(secret).slice(1, -1)));
    assert.match(value.text, /^before \[.*, cut out by Writ\] after$/);
  });

test('knows secrets without a shape by their name', () => {
  const key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
  const password = letters.slice(0, 43);
  for (const given of [
    { secretAccessKey: key },
    { text: `aws_secret_access_key = ${key}` },
    { text: `{"SecretAccessKey": "${key}"}` },
    { password },
    { text: `PGPASSWORD=${password}` },
    { text: `postgres://writ_lse:${password}@db.example.com/shop` },
  ])
    assert.equal(cutCredentials(given).count, 1, JSON.stringify(given));
});

test('leaves alone what is none', () => {
  const plain = {
    text: 'See ghs_short, ASIA, eyJ, https://example.com/a@b, user:pass, password: hunter2, AKIA and ya29.',
    hash: 'da39a3ee5e6b4b0d3255bfef95601890afd80709',
    image: Buffer.from(letters).toString('base64'),
    number: 7,
    nothing: null,
  };
  assert.deepEqual(cutCredentials(plain), { value: plain, count: 0 });
});

test('a text made to take long does not', () => {
  for (const text of ['-----BEGIN PRIVATE KEY-----', 'a://b:', 'eyJaaaaaaaa.', 'password = ', 'sessiontoken="'])
    cutCredentials(text.repeat(20_000));
});
