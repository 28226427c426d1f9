/** What providers find out, once the broker is up, about what their targets do not hold. */
import type { Parts } from './parts.ts';

export interface StoreLimits {
  /** Asks every provider that has not told yet. Never rejects. */
  look(): Promise<void>;
  /** In words, for readiness; null = nothing was found. */
  words(): string | null;
}

export function storeLimits({ providers, providerTimeoutSeconds, log }: Parts): StoreLimits {
  const told = new Map<string, string[]>();
  const failing = new Set<string>();
  return {
    look: async () => {
      for (const [name, provider] of providers) {
        if (provider.findLimits === undefined || told.has(name)) continue;
        try {
          const found = await provider.findLimits(AbortSignal.timeout(providerTimeoutSeconds * 1000));
          told.set(name, found);
          if (found.length > 0)
            log.warn({ provider: name, found }, 'this store does not hold all that a plan relies on');
        } catch (err) {
          if (!failing.has(name))
            log.warn(
              { err, provider: name },
              'what this store holds could not be found out; it is tried again, and said once',
            );
          failing.add(name);
        }
      }
    },
    words: () => [...told.values()].flat().join('; ') || null,
  };
}
