import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { deriveKey } from './key-encryption-key.ts';
import { createSeal } from './seal.ts';

const kek = randomBytes(32);
const seal = createSeal(kek);

test('what is sealed opens in its own row only, under its own key only, unchanged only', async () => {
  const sealed = await seal.seal('hush', 'lse_1');
  assert.ok(!sealed.includes('hush') && !Buffer.from(sealed, 'base64url').includes('hush'));
  assert.equal(await seal.open(sealed, 'lse_1'), 'hush');
  await assert.rejects(seal.open(sealed, 'lse_2'), /another row/);
  await assert.rejects(createSeal(randomBytes(32)).open(sealed, 'lse_1'));
  await assert.rejects(createSeal(deriveKey(kek, 'at-rest')).open(sealed, 'lse_1'));
  const parts = sealed.split('.');
  for (const i of [0, 2, 3, 4]) {
    const changed = parts.with(i, `${parts[i]!.startsWith('A') ? 'B' : 'A'}${parts[i]!.slice(1)}`).join('.');
    await assert.rejects(seal.open(changed, 'lse_1'), `part ${i}`);
  }
  // The header is authenticated: another row's name cannot be written into it.
  const header = Buffer.from(JSON.stringify({ alg: 'dir', enc: 'A256GCM', sub: 'lse_2' })).toString('base64url');
  await assert.rejects(seal.open(parts.with(0, header).join('.'), 'lse_2'));
});

test('the same text is never sealed to the same value', async () => {
  const sealed = await Promise.all(Array.from({ length: 20 }, () => seal.seal('hush', 'lse_1')));
  assert.equal(new Set(sealed).size, 20);
});
