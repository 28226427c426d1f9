/**
 * Sealing under the key-encryption key (KEK): JWE compact, `dir` + `A256GCM` (RFC 7516). What is sealed is
 * bound to the row it belongs to, so that a sealed value copied into another row does not open there.
 */
import { CompactEncrypt, compactDecrypt } from 'jose';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export interface Seal {
  /** @param owner id of the row the value rests in, e.g. a lease id; opening needs the same */
  seal(plaintext: string, owner: string): Promise<string>;
  /** @throws Error when the value was changed, belongs to another row, or was sealed under another key */
  open(sealed: string, owner: string): Promise<string>;
}

/** @param kek 32 bytes */
export function createSeal(kek: Uint8Array): Seal {
  return {
    seal: (plaintext, owner) =>
      new CompactEncrypt(encoder.encode(plaintext))
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM', sub: owner })
        .encrypt(kek),
    open: async (sealed, owner) => {
      const { plaintext, protectedHeader } = await compactDecrypt(sealed, kek, {
        keyManagementAlgorithms: ['dir'],
        contentEncryptionAlgorithms: ['A256GCM'],
      });
      if (protectedHeader.sub !== owner) throw new Error('sealed value belongs to another row');
      return decoder.decode(plaintext);
    },
  };
}
