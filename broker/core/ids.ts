/**
 * Names for rows: `ses_`, `gnt_`, `lse_`, `rev_`, `ntc_`, `act_`, `mpr_`, `lck_`, `pap_`, `psk_`, `bgl_`,
 * `ver_` and 20 characters, 9 of time and 11 of chance.
 */
import { randomBytes } from 'node:crypto';

/**
 * Crockford's base 32 without the letters people misread. Also a subset of what AWS takes in a
 * SourceIdentity.
 */
const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';

/**
 * Reads random bytes from the system in bulk, since a call costs the same for eleven as for thousands. Uses
 * each byte once.
 */
let reserve = Buffer.alloc(0);
function someBytes(count: number): Buffer {
  if (reserve.length < count) reserve = randomBytes(4096);
  const taken = reserve.subarray(0, count);
  reserve = reserve.subarray(count);
  return taken;
}

export type IdPrefix = 'ses' | 'gnt' | 'lse' | 'rev' | 'ntc' | 'act' | 'mpr' | 'lck' | 'pap' | 'psk' | 'bgl' | 'ver';

/**
 * Time first, so that new rows land next to each other in the index; 55 bits of chance, so that an id cannot
 * be guessed in any number of requests a rate limit lets through (ids are not secrets even so: each access is
 * checked against its owner).
 */
export function newId(prefix: IdPrefix, now: Date): string {
  let time = now.getTime();
  let head = '';
  for (let i = 0; i < 9; i += 1) {
    head = alphabet[time % 32] + head;
    time = Math.floor(time / 32);
  }
  let tail = '';
  for (const byte of someBytes(11)) tail += alphabet[byte & 31];
  return `${prefix}_${head}${tail}`;
}

/** Names a request in answers and log: 72 bits of chance, no more. */
export function newRequestId(): string {
  return `req_${someBytes(9).toString('base64url')}`;
}
