/**
 * Where the key-encryption key comes from: the environment, or, for the embedded database, a file beside it
 * that only its owner may read.
 */
import { hkdfSync, randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** @returns 32 bytes */
export async function keyEncryptionKey(fromEnvironment: string | undefined, dataDir: string): Promise<Uint8Array> {
  if (fromEnvironment !== undefined) return decode(fromEnvironment);
  await mkdir(dataDir, { recursive: true, mode: 0o700 }).catch((error) => {
    throw new Error(`WRIT_DATA_DIR: ${dataDir} cannot be made (${error.code}); name a folder that this user may write`);
  });
  const file = join(dataDir, 'key-encryption-key');
  try {
    // `wx`: of two processes that start at once, one makes the key and the other reads it.
    await writeFile(file, randomBytes(32).toString('base64url'), { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
      throw new Error(
        `WRIT_DATA_DIR: ${file} cannot be written (${(error as NodeJS.ErrnoException).code}); name a folder that this user may write`,
      );
  }
  const text = await readFile(file, 'utf8').catch((error) => {
    throw new Error(`WRIT_DATA_DIR: ${file} cannot be read (${error.code}); the user who started it first may`);
  });
  return decode(text.trim());
}

function decode(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.length !== 32) throw new Error('the key-encryption key must have 32 bytes');
  return bytes;
}

export type KeyUse =
  | 'at-rest'
  | 'sign-in-cookie'
  | 'login-renewal'
  | 'passkeys'
  | 'approval-challenges'
  | 'checkpoints'
  | 'actions'
  | 'credential-marks'
  | `row-proof:${string}`;

/**
 * Derives a separate key for each use (RFC 5869), so that a value sealed for one use cannot be opened for
 * another.
 */
export function deriveKey(kek: Uint8Array, use: KeyUse): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', kek, 'writ', use, 32));
}
