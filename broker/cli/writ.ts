#!/usr/bin/env node
/** `writ`: what an operator runs beside the broker, on its database and with its environment. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { providerModules } from '../../providers/registry.ts';
import { verifyAudit } from '../audit/verify.ts';
import { ConfigurationError, loadSettings } from '../config/settings.ts';
import { systemClock } from '../core/clock.ts';
import { deriveKey, keyEncryptionKey } from '../keys/key-encryption-key.ts';
import { openKeyRing } from '../keys/ring.ts';
import { createSeal } from '../keys/seal.ts';
import { readManifest } from '../manifests/read.ts';
import { openStore, type Store } from '../store/open.ts';

const usage = `writ – a credential broker for AI agents

  writ audit verify              recompute every chain of the record; exit 1 and name the first broken row
  writ manifest check FILE …     parse, check and compile manifests; exit 1 with line, column and path of each fault
  writ keys rotate               bring in a new signing key; it signs after WRIT_KEY_LEAD_SECONDS

Run where the broker runs: the commands read the same environment variables. With the embedded database, stop the broker first.
`;

async function withStore<T>(work: (store: Store) => Promise<T>): Promise<T> {
  const settings = loadSettings(process.env, providerModules);
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

async function auditVerify(): Promise<number> {
  const { chains, rows, broken } = await withStore((store) => verifyAudit(store));
  if (broken === null) {
    console.log(`✔ ${rows} rows in ${chains} chains hold`);
    return 0;
  }
  console.error(`✘ chain ${broken.chain}, row ${broken.seq}: ${broken.what}`);
  return 1;
}

/** Against every provider's parameters, whether it is switched on here or not. */
async function manifestCheck(files: string[]): Promise<number> {
  if (files.length === 0) return wrongUsage();
  const shapes = Object.fromEntries(providerModules.map((module) => [module.name, { params: module.params }]));
  let failed = 0;
  for (const file of files) {
    const read = readManifest(await readFile(file, 'utf8'), shapes);
    if (read.ok) {
      const { agent, capabilities, task_types } = read.compiled.manifest;
      console.log(
        `✔ ${file}: ${agent}, ${Object.keys(task_types).length} task types, ${Object.keys(capabilities).length} capabilities`,
      );
      continue;
    }
    failed += 1;
    for (const { line = 1, column = 1, path, message } of read.faults)
      console.error(`✘ ${file}:${line}:${column}: ${path}: ${message}`);
  }
  return failed === 0 ? 0 : 1;
}

async function keysRotate(): Promise<number> {
  const settings = loadSettings(process.env, providerModules);
  const kek = await keyEncryptionKey(settings.WRIT_KEY_ENCRYPTION_KEY, settings.WRIT_DATA_DIR);
  const seal = createSeal(deriveKey(kek, 'at-rest'));
  const kid = await withStore(async (store) => {
    const longestTokenSeconds = Math.max(settings.WRIT_SESSION_TOKEN_SECONDS, 300);
    const ring = await openKeyRing(store, { clock: systemClock, seal, longestTokenSeconds });
    return ring.rotate(settings.WRIT_KEY_LEAD_SECONDS, 'operator');
  });
  console.log(`✔ key ${kid} is published now and signs in ${settings.WRIT_KEY_LEAD_SECONDS} s`);
  return 0;
}

function wrongUsage(): number {
  console.error(usage);
  return 2;
}

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { help: { type: 'boolean', short: 'h' } },
});
const [noun, verb, ...rest] = positionals;
try {
  if (values.help === true) console.log(usage);
  else if (noun === 'audit' && verb === 'verify') process.exitCode = await auditVerify();
  else if (noun === 'manifest' && verb === 'check') process.exitCode = await manifestCheck(rest);
  else if (noun === 'keys' && verb === 'rotate') process.exitCode = await keysRotate();
  else process.exitCode = wrongUsage();
} catch (error) {
  console.error(error instanceof ConfigurationError ? error.message : `✘ ${(error as Error).message}`);
  process.exitCode = 1;
}
