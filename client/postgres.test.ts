/** A PostgreSQL credential as it comes over the wire, and what the drivers take. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expiryOf, readCredential } from './credentials.ts';
import type { Grant } from './grant.ts';
import { postgresOptions, prismaUrl } from './index.ts';

const wire = {
  type: 'postgres',
  host: 'db.example.com',
  port: 5432,
  database: 'shop',
  user: 'writ_lse_1',
  password: 'the-password',
  sslmode: 'verify-full',
  ssl_root_cert: '-----BEGIN CERTIFICATE-----',
  url: 'postgres://writ_lse_1:the-password@db.example.com:5432/shop?sslmode=verify-full',
  service_file: '[writ]\n',
  relations: [{ table: 'public.payments', schema: 'writ_public', name: 'payments' }],
  expires_at: '2031-03-01T10:15:00.000Z',
};
const grantOf = (more: object = {}) =>
  ({ id: 'gnt_1', credential: readCredential({ ...wire, ...more }) }) as unknown as Grant;

test('the options of pg verify the server with the certificates that came along', () => {
  const { password, ssl, ...rest } = postgresOptions(grantOf());
  assert.deepEqual(rest, { host: 'db.example.com', port: 5432, database: 'shop', user: 'writ_lse_1' });
  assert.equal(password, 'the-password');
  assert.deepEqual(ssl, { rejectUnauthorized: true, ca: wire.ssl_root_cert });
  assert.deepEqual(postgresOptions(grantOf({ sslmode: 'require' })).ssl, { rejectUnauthorized: false });
  assert.equal(postgresOptions(grantOf({ sslmode: 'disable' })).ssl, false);
});

test('Prisma’s connection string has the schema of the plan, and few connections', () => {
  const url = new URL(prismaUrl(grantOf()));
  assert.deepEqual(
    [url.searchParams.get('schema'), url.searchParams.get('connection_limit'), url.searchParams.get('sslmode')],
    ['writ_public', '2', 'verify-full'],
  );
});

test('another provider’s grant is refused, and what is missing is named', () => {
  assert.throws(() => postgresOptions(grantOf({ type: 'other' })), { code: 'wrong_credential' });
  assert.throws(() => readCredential({ ...wire, url: undefined }), /lacks url/);
  assert.equal(expiryOf(readCredential(wire))?.toISOString(), wire.expires_at);
});
