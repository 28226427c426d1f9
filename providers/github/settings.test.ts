import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { key } from './harness.test-support.ts';
import { github } from './index.ts';

const good = { GITHUB_APP_ID: '4242', GITHUB_APP_PRIVATE_KEY: key.privateKey };

/** The variables that the faults name. */
function faults(environment: Record<string, string>): string[] {
  const parsed = github.settings.safeParse(environment);
  return parsed.success ? [] : parsed.error.issues.map((issue) => issue.path.map(String).join('.'));
}

test('the key comes as PEM, as PEM on one line, or from a file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'github-key-'));
  const file = join(folder, 'key.pem');
  writeFileSync(file, key.privateKey);
  try {
    assert.deepEqual(faults(good), []);
    assert.deepEqual(faults({ ...good, GITHUB_APP_PRIVATE_KEY: key.privateKey.replaceAll('\n', '\\n') }), []);
    assert.deepEqual(
      faults({ GITHUB_APP_ID: '4242', GITHUB_APP_PRIVATE_KEY: '', GITHUB_APP_PRIVATE_KEY_FILE: file }),
      [],
    );
    assert.deepEqual(faults({ ...good, GITHUB_APP_PRIVATE_KEY_FILE: file }), ['GITHUB_APP_PRIVATE_KEY']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('half a configuration names what is missing', () => {
  assert.ok(faults({ GITHUB_APP_PRIVATE_KEY: key.privateKey }).includes('GITHUB_APP_ID'));
  assert.deepEqual(faults({ GITHUB_APP_ID: '4242' }), ['GITHUB_APP_PRIVATE_KEY']);
  assert.deepEqual(faults({ GITHUB_APP_ID: 'x', GITHUB_API_URL: 'x' }), [
    'GITHUB_APP_ID',
    'GITHUB_API_URL',
    'GITHUB_APP_PRIVATE_KEY',
  ]);
  assert.deepEqual(faults({ GITHUB_APP_ID: '4242', GITHUB_APP_PRIVATE_KEY: 'x' }), ['GITHUB_APP_PRIVATE_KEY']);
  assert.deepEqual(faults({ GITHUB_APP_ID: '4242', GITHUB_APP_PRIVATE_KEY_FILE: '/nowhere/key.pem' }), [
    'GITHUB_APP_PRIVATE_KEY_FILE',
  ]);
});

test('what cannot work or would leak is refused', () => {
  const elliptic = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  });
  for (const [name, values] of Object.entries({
    GITHUB_APP_ID: ['0', 'abc', '1; drop'],
    GITHUB_APP_PRIVATE_KEY: ['not a key', String(elliptic), key.publicKey],
    GITHUB_INSTALLATION_ID: ['x', '-1', '1.5'],
    GITHUB_API_URL: [
      'api.github.com',
      'http://github.example',
      'https://a:b@github.example',
      'https://github.example?x',
      'ftp://x',
    ],
    WRIT_GITHUB_OWNERS: ['*', 'a/b', 'org, ..'],
  }))
    for (const value of values)
      assert.deepEqual(faults({ ...good, [name]: value }), [name], `${name}=${value.slice(0, 30)}`);
});

test('settings do not show the key, and errors do not quote it', () => {
  const secret = key.privateKey.split('\n')[5] ?? '';
  assert.ok(secret.length > 40);
  const settings = github.settings.parse(good);
  assert.ok(!`${inspect(settings, { depth: 9 })}${JSON.stringify(settings)}`.includes(secret));
  const broken = github.settings.safeParse({ ...good, GITHUB_APP_PRIVATE_KEY: key.privateKey.slice(0, -40) });
  assert.ok(
    !broken.success && !JSON.stringify(broken.error).includes(secret) && !inspect(broken.error).includes(secret),
  );
});
