/** Opens what a broker needs before its address is known: settings, database, keys. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { DestinationStream, Logger } from 'pino';
import type { ChannelModule } from '../../approvals/contract.ts';
import { channelModules } from '../../approvals/registry.ts';
import type { ProviderModule } from '../../providers/contract.ts';
import { providerModules } from '../../providers/registry.ts';
import { loadSettings, type Settings } from '../config/settings.ts';
import { misspeltVariables, unknownVariables } from '../config/unknown-variables.ts';
import { systemClock } from '../core/clock.ts';
import { createLog } from '../core/log.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Trust } from '../identity/trust.ts';
import { readTrustFile } from '../identity/trust-file.ts';
import { deriveKey, keyEncryptionKey } from '../keys/key-encryption-key.ts';
import { type KeyRing, openKeyRing } from '../keys/ring.ts';
import { createRowProofs } from '../keys/row-proofs.ts';
import { createSeal, type Seal } from '../keys/seal.ts';
import type { WeeklyRotas } from '../people/weekly-rota.ts';
import { writesFault } from '../store/check-database.ts';
import { openStore, type Store } from '../store/open.ts';
import { findManifestFolder } from './manifest-folder.ts';
import { readRotaFile } from './rota-file.ts';

/** What tests and the sandbox replace; in production none of it is given. */
export interface Overrides {
  clock?: Clock;
  logTo?: DestinationStream;
  modules?: readonly ProviderModule[];
  channels?: readonly ChannelModule[];
  /** Embedded database in memory, empty or from this dump. */
  inMemory?: true | Blob;
  random?: () => number;
  /**
   * The clock to hold ours against, instead of the database's. Without it, a `clock` of a test's is held
   * against none.
   */
  databaseClock?: () => Promise<Date>;
  /** Wraps the database, so that a test can observe or halt every statement. */
  openStore?: typeof openStore;
}

export interface Foundation {
  settings: Settings;
  trust: Trust;
  /** Rotas of the file; null where there is none. */
  weeklyRotas: WeeklyRotas | null;
  modules: readonly ProviderModule[];
  channelModules: readonly ChannelModule[];
  clock: Clock;
  log: Logger;
  store: Store;
  /** The key-encryption key: every other key of ours is derived from it or sealed under it. */
  kek: Uint8Array;
  seal: Seal;
  ring: KeyRing;
  /** Jitter, 0 to 1. */
  random(): number;
}

/** @throws ConfigurationError with every fault at once; any other error when the database cannot be had */
export async function openFoundation(
  env: Record<string, string | undefined>,
  overrides: Overrides,
): Promise<Foundation> {
  const modules = overrides.modules ?? providerModules;
  const channels = overrides.channels ?? channelModules;
  const all = [...providerModules, ...modules, ...channelModules, ...channels];
  const unknown = unknownVariables(env, all);
  const settings = loadSettings(env, modules, channels, unknown);
  await findManifestFolder(settings.WRIT_MANIFEST_DIR);
  const trust = await readTrustFile(settings);
  const weeklyRotas = await readRotaFile(settings.WRIT_ONCALL_FILE);
  const clock = overrides.clock ?? systemClock;
  const log = createLog(settings.WRIT_LOG_LEVEL, overrides.logTo);
  for (const { variable, near } of misspeltVariables(env, all))
    log.warn(
      { variable, near },
      'a variable that Writ does not read is nearly one that it does, which is not set: misspelt?',
    );
  const kek =
    overrides.inMemory !== undefined && settings.WRIT_KEY_ENCRYPTION_KEY === undefined
      ? randomBytes(32)
      : await keyEncryptionKey(settings.WRIT_KEY_ENCRYPTION_KEY, settings.WRIT_DATA_DIR);
  const store = await (overrides.openStore ?? openStore)({
    databaseUrl: settings.DATABASE_URL ?? null,
    dataDir: overrides.inMemory === undefined ? join(settings.WRIT_DATA_DIR, 'database') : null,
    ...(overrides.inMemory instanceof Blob ? { image: overrides.inMemory } : {}),
    poolSize: settings.WRIT_DATABASE_POOL,
    schema: settings.WRIT_DATABASE_SCHEMA,
    minFreeBytes: settings.WRIT_EMBEDDED_MIN_FREE_MB * 1_048_576,
    say: (message) => log.info({}, message),
    proofs: createRowProofs(kek, (broken) =>
      log.error(
        broken,
        'a row does not hold: it was not written by a broker with this key-encryption key, or was changed',
      ),
    ),
  });
  // A standby, say, after a failover: whoever starts this process again finds the primary in the end.
  const readOnly = await writesFault(store);
  if (readOnly !== null) {
    await store.close();
    throw new Error(readOnly);
  }
  const seal = createSeal(deriveKey(kek, 'at-rest'));
  const longestTokenSeconds = Math.max(settings.WRIT_SESSION_TOKEN_SECONDS, 300);
  const ring = await openKeyRing(store, { clock, seal, longestTokenSeconds, log });
  const random = overrides.random ?? (() => randomBytes(4).readUInt32BE() / 2 ** 32);
  return {
    settings,
    trust,
    weeklyRotas,
    modules,
    channelModules: channels,
    clock,
    log,
    store,
    kek,
    seal,
    ring,
    random,
  };
}
