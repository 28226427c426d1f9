/**
 * What a key of this process has signed and nobody has verified yet. A text that is found here bears a valid
 * signature by that key: only whoever holds the key can have put it here. Verifying ES256 costs nearly three
 * times what signing does (docs/performance.md), and most decisions are verified where they were signed.
 */

/** Texts that nobody came for, at most: a decision whose mint never began. */
const limit = 1_000;

export interface OwnSignatures {
  /** @param signed the whole text, its signature included */
  add(signed: string): void;
  /** Whether it is there, to the last character; it is not after that. */
  take(signed: string): boolean;
}

export function ownSignatures(): OwnSignatures {
  const texts = new Set<string>();
  return {
    add: (signed) => {
      if (texts.size >= limit) texts.clear();
      texts.add(signed);
    },
    take: (signed) => texts.delete(signed),
  };
}
