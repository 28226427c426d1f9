/** The commands of `writ` that need the broker itself; they read the broker's environment variables. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  CommandError,
  type PartFinding,
  type PostgresPreparation,
  type Reconciled,
} from '../../client/cli/broker-side.ts';
import { checkPreparation } from '../../providers/postgres/check.ts';
import {
  applyPreparation as applyPostgresPreparation,
  applyUndo,
  planPreparation as planPostgresPreparation,
  planUndo,
  type TableToPrepare,
} from '../../providers/postgres/prepare.ts';
import { readTarget } from '../../providers/postgres/target.ts';
import { providerModules } from '../../providers/registry.ts';
import { checkHistory as check } from '../actions/check-history.ts';
import { type Anchors, type Verification, verifyAudit } from '../audit/verify.ts';
import { loadSettings, type Settings } from '../config/settings.ts';
import { systemClock } from '../core/clock.ts';
import { deriveKey, keyEncryptionKey } from '../keys/key-encryption-key.ts';
import { type KeyRing, openKeyRing } from '../keys/ring.ts';
import { createRowProofs } from '../keys/row-proofs.ts';
import { createSeal } from '../keys/seal.ts';
import { compareTraces } from '../leases/compare-traces.ts';
import { createCatalog } from '../manifests/catalog.ts';
import { renewBootstrapToken } from '../people/admin-access.ts';
import { openStore, type Store } from '../store/open.ts';
import { applyPreparation, type Preparation, planPreparation } from '../store/prepare.ts';

/**
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function verifyEmbedded(anchors: Anchors): Promise<Verification> {
  return withStore((store) => verifyAudit(store, undefined, anchors));
}

/**
 * What rules remember, held against the calls and grants on record.
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function checkHistory(): Promise<{ right: number; differing: string[] }> {
  return withStore(async (store) => {
    const { right, differing } = await check(store, createCatalog(store), systemClock.now());
    return { right, differing: differing.map(({ cell, what }) => `${cell}: ${inWords[what]}`) };
  });
}
const inWords = {
  changed: 'is not what the record made of it',
  missing: 'is missing',
  unexplained: 'nothing on record made it',
};

/**
 * Publishes a new signing key, which signs after WRIT_KEY_LEAD_SECONDS.
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function rotateKeys(): Promise<{ kid: string; leadSeconds: number }> {
  return withRing(async (ring, { WRIT_KEY_LEAD_SECONDS: leadSeconds }) => ({
    kid: await ring.rotate(leadSeconds, 'operator'),
    leadSeconds,
  }));
}

/**
 * Withdraws a signing key at once, in every process that uses this database.
 * @returns the key that signs now; null when there is no such key
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function withdrawKey(kid: string): Promise<string | null> {
  return withRing((ring) => ring.withdraw(kid, 'operator', null));
}

async function withRing<T>(work: (ring: KeyRing, settings: Settings) => Promise<T>): Promise<T> {
  return withStore(async (store, settings, kek) => {
    const seal = createSeal(deriveKey(kek, 'at-rest'));
    const longestTokenSeconds = Math.max(settings.WRIT_SESSION_TOKEN_SECONDS, 300);
    return work(await openKeyRing(store, { clock: systemClock, seal, longestTokenSeconds }), settings);
  });
}

/**
 * Replaces the bootstrap token.
 * @throws ConfigurationError with every fault of the environment; Error when the database cannot be opened
 */
export async function renewAdminToken(): Promise<string> {
  return withStore((store) => renewBootstrapToken(store, systemClock));
}

/** Shows, or with `apply` does, what gives the broker a role that cannot change history. */
export async function prepareDatabase(
  env: { [name: string]: string | undefined },
  { apply, migrationRole, runtimeRole }: { apply: boolean; migrationRole: string; runtimeRole: string },
): Promise<Preparation> {
  const databaseUrl = env.DATABASE_URL || null;
  if (databaseUrl === null)
    throw new CommandError(
      'DATABASE_URL is not set; the embedded database has no roles: whoever has its files has it all',
    );
  const schema = env.WRIT_DATABASE_SCHEMA || 'public';
  for (const name of [schema, migrationRole, runtimeRole])
    if (!/^(?!pg_)[a-z_][a-z0-9_]{0,62}$/.test(name))
      throw new CommandError(`${name}: schemas and roles are named in lower case, digits and underscores`);
  const options = {
    databaseUrl,
    schema,
    migrationRole,
    runtimeRole,
    runtimePassword: env.WRIT_RUNTIME_PASSWORD || null,
  };
  return apply ? applyPreparation(options) : planPreparation(options);
}

/** Shows or does what an admin of a PostgreSQL database does once for the rows of leases. */
export async function preparePostgres(
  env: { [name: string]: string | undefined },
  { action, apply, tables, views, brokerRole }: PostgresPreparation,
): Promise<{ statements: string[]; faults: string[]; notes: string[] }> {
  const admin = readTarget(env.WRIT_POSTGRES_ADMIN_URL ?? '');
  if (typeof admin === 'string')
    throw new CommandError(`WRIT_POSTGRES_ADMIN_URL, of a role that owns the tables and may create roles, ${admin}`);
  if (!/^(?!pg_)[a-z_][a-z0-9_]{0,62}$/.test(brokerRole))
    throw new CommandError(`${brokerRole}: roles are named in lower case, digits and underscores`);
  const ca = env.WRIT_POSTGRES_CA_FILE ? await readFile(env.WRIT_POSTGRES_CA_FILE, 'utf8') : null;
  const options = { admin, ca, broker: brokerRole, signal: AbortSignal.timeout(120_000) };
  const asked = [
    ...tables.map((text) => tableToPrepare(text, 'policy')),
    ...views.map((text) => tableToPrepare(text, 'view')),
  ];
  const nothing = { statements: [], faults: [], notes: [] };
  if (action === 'check')
    return {
      ...nothing,
      ...(await checkPreparation(
        options,
        asked.map((one) => `${one.schema}.${one.table}`),
      )),
    };
  if (action === 'undo') return { ...nothing, statements: await (apply ? applyUndo(options) : planUndo(options)) };
  if (asked.length === 0) throw new CommandError('name at least one table: --table SCHEMA.TABLE=COLUMN');
  const wanted = { ...options, tables: asked, brokerPassword: env.WRIT_POSTGRES_BROKER_PASSWORD || null };
  return { ...nothing, statements: await (apply ? applyPostgresPreparation(wanted) : planPostgresPreparation(wanted)) };
}

/** SCHEMA.TABLE or SCHEMA.TABLE=COLUMN,COLUMN; names as they are stored, without quotes. */
function tableToPrepare(text: string, through: 'policy' | 'view'): TableToPrepare {
  const match = /^([^.=]+)\.([^=]+)(?:=(.+))?$/.exec(text);
  const [, schema, table, columns] = match ?? [];
  if (schema === undefined || table === undefined)
    throw new CommandError(`${text}: write SCHEMA.TABLE, or SCHEMA.TABLE=COLUMN,COLUMN`);
  return { schema, table, through, columns: columns?.split(',') ?? [] };
}

/**
 * What providers' targets have of leases, against the lease rows. Changes nothing.
 * @throws ConfigurationError with every fault of the environment; ProviderError when a target does not answer
 */
export async function reconcile(wanted: string | null): Promise<Reconciled[]> {
  return withStore(async (store, settings) => {
    const modules = providerModules.filter(({ name }) => settings.providers.has(name));
    if (wanted !== null && !modules.some(({ name }) => name === wanted))
      throw new CommandError(`the provider ${wanted} is not switched on here`);
    const signIdentityToken = () => Promise.reject(new CommandError('no identity token is signed here'));
    const providers = modules
      .filter(({ name }) => wanted === null || name === wanted)
      .map((module) => module.create(settings.providers.get(module.name), { clock: systemClock, signIdentityToken }));
    const all: Reconciled[] = [];
    for (const provider of providers)
      all.push(
        await compareTraces(store, provider, AbortSignal.timeout(settings.WRIT_PROVIDER_TIMEOUT_SECONDS * 1000)),
      );
    return all;
  });
}

/**
 * What a broker with this environment would lean on, without starting one: a fault of the environment or a
 * database that is away is a line among the others.
 */
export async function diagnose(env: { [name: string]: string | undefined }): Promise<PartFinding[]> {
  return (await import('../compose/diagnose-here.ts')).diagnoseHere(env);
}

async function withStore<T>(work: (store: Store, settings: Settings, kek: Uint8Array) => Promise<T>): Promise<T> {
  const settings = loadSettings(process.env, providerModules);
  const kek = await keyEncryptionKey(settings.WRIT_KEY_ENCRYPTION_KEY, settings.WRIT_DATA_DIR);
  const store = await openStore({
    databaseUrl: settings.DATABASE_URL ?? null,
    dataDir: join(settings.WRIT_DATA_DIR, 'database'),
    schema: settings.WRIT_DATABASE_SCHEMA,
    minFreeBytes: settings.WRIT_EMBEDDED_MIN_FREE_MB * 1_048_576,
    poolSize: 2,
    proofs: createRowProofs(kek),
  });
  try {
    return await work(store, settings, kek);
  } finally {
    await store.close();
  }
}
