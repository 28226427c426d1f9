/**
 * Proofs of rows: HMAC-SHA-256 over the columns that grant power, under a key of the table's own, derived
 * from the key-encryption key. Whoever writes the database without that key can destroy a row, not make one
 * that counts.
 *
 * A proof binds a row to what it says, not to the present: an older copy of the same row holds as well. What
 * may not come back is therefore in the row as a time, or in the record.
 */
import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';
import { canonicalJson } from '../core/canonical-json.ts';
import type { ProvenRows, ProvenTable, RowProofs } from '../core/proven-rows.ts';
import { deriveKey } from './key-encryption-key.ts';

/** A row that was not written by a broker with this key-encryption key, or was changed since. */
export interface BrokenProof {
  table: ProvenTable;
  row: string;
  /** `missing`: written before there were proofs, or by somebody else. */
  what: 'missing' | 'wrong';
}

/** @param report told of every row that does not hold */
export function createRowProofs(kek: Uint8Array, report: (broken: BrokenProof) => void = () => {}): RowProofs {
  const keys = new Map<ProvenTable, KeyObject>();
  const keyOf = (table: ProvenTable): KeyObject => {
    let key = keys.get(table);
    if (key === undefined) {
      key = createSecretKey(deriveKey(kek, `row-proof:${table}`));
      keys.set(table, key);
    }
    return key;
  };
  const make = <Table extends ProvenTable>(table: Table, row: ProvenRows[Table]): string =>
    `v1.${createHmac('sha256', keyOf(table)).update(encode(table, row)).digest('base64url')}`;
  return {
    make,
    holds: (table, row, proof) => {
      const right = Buffer.from(make(table, row));
      const given = Buffer.from(proof);
      if (right.length === given.length && timingSafeEqual(right, given)) return true;
      report({ table, row: String(Object.values(row)[0]), what: proof === '' ? 'missing' : 'wrong' });
      return false;
    },
  };
}

/**
 * One text for one row: a line for each column, names in order, times in UTC to the millisecond, NULL as
 * null. PostgreSQL's jsonb orders members in its own way: an object is written as in RFC 8785, where their
 * order is nothing. No JSON text has a line break in it, so that no value can pass for another column.
 */
function encode(table: ProvenTable, row: object): string {
  const values = row as { readonly [name: string]: unknown };
  let text: string = table;
  for (const name of Object.keys(row).sort()) text += `\n${name}:${written(values[name])}`;
  return text;
}

function written(value: unknown): string {
  // PostgreSQL has times that JavaScript has not, and JSON would write them as it writes NULL.
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? String(value) : `"${value.toISOString()}"`;
  if (typeof value === 'number') return String(value);
  return typeof value === 'object' && value !== null ? canonicalJson(value) : JSON.stringify(value);
}
