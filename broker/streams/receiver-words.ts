/**
 * What a receiver says is wrong with a token (RFC 8935 section 2.3, RFC 8936 section 2.6), as far as it goes
 * on record.
 */

export interface ReceiverError {
  err: string;
  description: string;
}

const longestErr = 64;
const longestDescription = 300;

/** @returns null where it is no error of the standards' form */
export function readReceiverError(value: unknown): ReceiverError | null {
  if (typeof value !== 'object' || value === null) return null;
  const { err, description } = value as { err?: unknown; description?: unknown };
  if (typeof err !== 'string' || !/^[A-Za-z0-9._-]+$/.test(err) || err.length > longestErr) return null;
  return { err, description: plain(typeof description === 'string' ? description : '') };
}

/** Foreign text on its way into the record: short, printable, on one line. */
function plain(text: string): string {
  const printable = text
    .toWellFormed()
    .replace(/[\p{C}\p{Z}]+/gu, ' ')
    .trim();
  return [...printable].slice(0, longestDescription).join('');
}
