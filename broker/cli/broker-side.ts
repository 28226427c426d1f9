/** The commands of `writ` that need the broker itself; they read the broker's environment variables. */
import { join } from 'node:path';
import { providerModules } from '../../providers/registry.ts';
import { type Verification, verifyAudit } from '../audit/verify.ts';
import { loadSettings, type Settings } from '../config/settings.ts';
import { systemClock } from '../core/clock.ts';
import { deriveKey, keyEncryptionKey } from '../keys/key-encryption-key.ts';
import { type KeyRing, openKeyRing } from '../keys/ring.ts';
import { createSeal } from '../keys/seal.ts';
import { remakeBootstrapToken } from '../people/admin-access.ts';
import { openStore, type Store } from '../store/open.ts';

/**
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function verifyEmbedded(): Promise<Verification> {
  return withStore(loadSettings(process.env, providerModules), (store) => verifyAudit(store));
}

/**
 * Publishes a new signing key, which signs after WRIT_KEY_LEAD_SECONDS.
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function rotateKeys(): Promise<{ kid: string; leadSeconds: number }> {
  const settings = loadSettings(process.env, providerModules);
  const leadSeconds = settings.WRIT_KEY_LEAD_SECONDS;
  const kid = await withRing(settings, (ring) => ring.rotate(leadSeconds, 'operator'));
  return { kid, leadSeconds };
}

/**
 * Withdraws a signing key at once, in every process that uses this database.
 * @returns the key that signs now; null when there is no such key
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function withdrawKey(kid: string): Promise<string | null> {
  return withRing(loadSettings(process.env, providerModules), (ring) => ring.withdraw(kid, 'operator', null));
}

/**
 * Makes a new bootstrap token; the one there was opens nothing any more.
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function remakeBootstrap(): Promise<string> {
  const settings = loadSettings(process.env, providerModules);
  return withStore(settings, (store) => remakeBootstrapToken(store, systemClock, 'operator'));
}

async function withRing<T>(settings: Settings, work: (ring: KeyRing) => Promise<T>): Promise<T> {
  const kek = await keyEncryptionKey(settings.WRIT_KEY_ENCRYPTION_KEY, settings.WRIT_DATA_DIR);
  const seal = createSeal(deriveKey(kek, 'at-rest'));
  return withStore(settings, async (store) => {
    const longestTokenSeconds = Math.max(settings.WRIT_SESSION_TOKEN_SECONDS, 300);
    return work(await openKeyRing(store, { clock: systemClock, seal, longestTokenSeconds }));
  });
}

async function withStore<T>(settings: Settings, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await openStore({
    databaseUrl: settings.DATABASE_URL ?? null,
    dataDir: join(settings.WRIT_DATA_DIR, 'database'),
    schema: settings.WRIT_DATABASE_SCHEMA,
    poolSize: 2,
  });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
