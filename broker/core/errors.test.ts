import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asWritError } from './errors.ts';

const failing = (code: string, message = 'it failed') => Object.assign(new Error(message), { code });

test('a database that does not serve us is an outage, and what is wrong with a statement is a bug', () => {
  for (const code of [
    ...['ECONNREFUSED', 'ETIMEDOUT', 'CERT_HAS_EXPIRED', 'SELF_SIGNED_CERT_IN_CHAIN', 'P1000', 'P2034'],
    // Gone, full, out of connections, a bad disk, going down, starting.
    ...['08006', '53100', '53200', '53300', '58030', '57P01', '57P03', '57P05'],
    // Undone because of others, or given up.
    ...['40001', '40P01', '55P03', '57014'],
    // A standby; a password or a right that was taken away, a database that was dropped.
    ...['25006', '28P01', '28000', '42501', '3D000'],
  ]) {
    const { code: known, retryAfterSeconds, cause } = asWritError(failing(code));
    assert.deepEqual([known, retryAfterSeconds], ['unavailable', 5], code);
    assert.ok(cause instanceof Error, 'the log says why');
  }
  const wrapped = failing('P2039', 'Raw query failed. Code: `53100`. Message: `No space left`');
  assert.equal(asWritError(wrapped).code, 'unavailable');
  for (const code of ['23505', '22P02', '42601', '42P01', 'XX000', 'ERR_INVALID_ARG_TYPE', ''])
    assert.equal(asWritError(failing(code)).code, 'internal', code);
});
