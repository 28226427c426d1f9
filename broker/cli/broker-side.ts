/** The commands of `writ` that need the broker itself; they read the broker's environment variables. */
import { join } from 'node:path';
import { providerModules } from '../../providers/registry.ts';
import { type Verification, verifyAudit } from '../audit/verify.ts';
import { loadSettings, type Settings } from '../config/settings.ts';
import { systemClock } from '../core/clock.ts';
import { deriveKey, keyEncryptionKey } from '../keys/key-encryption-key.ts';
import { openKeyRing } from '../keys/ring.ts';
import { createRowProofs } from '../keys/row-proofs.ts';
import { createSeal } from '../keys/seal.ts';
import { renewBootstrapToken } from '../people/admin-access.ts';
import { openStore, type Store } from '../store/open.ts';

/**
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function verifyEmbedded(): Promise<Verification> {
  return withStore((store) => verifyAudit(store));
}

/**
 * Publishes a new signing key, which signs after WRIT_KEY_LEAD_SECONDS.
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function rotateKeys(): Promise<{ kid: string; leadSeconds: number }> {
  return withStore(async (store, settings, kek) => {
    const leadSeconds = settings.WRIT_KEY_LEAD_SECONDS;
    const seal = createSeal(deriveKey(kek, 'at-rest'));
    const longestTokenSeconds = Math.max(settings.WRIT_SESSION_TOKEN_SECONDS, 300);
    const ring = await openKeyRing(store, { clock: systemClock, seal, longestTokenSeconds });
    return { kid: await ring.rotate(leadSeconds, 'operator'), leadSeconds };
  });
}

/**
 * Replaces the bootstrap token.
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function renewAdminToken(): Promise<string> {
  return withStore((store) => renewBootstrapToken(store, systemClock));
}

async function withStore<T>(work: (store: Store, settings: Settings, kek: Uint8Array) => Promise<T>): Promise<T> {
  const settings = loadSettings(process.env, providerModules);
  const kek = await keyEncryptionKey(settings.WRIT_KEY_ENCRYPTION_KEY, settings.WRIT_DATA_DIR);
  const store = await openStore({
    databaseUrl: settings.DATABASE_URL ?? null,
    dataDir: join(settings.WRIT_DATA_DIR, 'database'),
    schema: settings.WRIT_DATABASE_SCHEMA,
    poolSize: 2,
    proofs: createRowProofs(kek),
  });
  try {
    return await work(store, settings, kek);
  } finally {
    await store.close();
  }
}
