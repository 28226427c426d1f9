/** A diagnosis of an environment, where no broker runs that could be asked. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigurationError } from '../config/settings.ts';
import { unguarded } from '../core/clock-guard.ts';
import { diagnose, type PartFinding } from '../diagnose/diagnose.ts';
import { pendingMigrations } from '../store/pending-migrations.ts';
import { diagnoseDeps } from './diagnosis.ts';
import { type Foundation, openFoundation } from './foundation.ts';
import { identityProvider } from './identity-provider.ts';
import { createParts } from './parts.ts';

/** Never throws for what is wrong with the environment: that is a finding. Migrates nothing. */
export async function diagnoseHere(env: { [name: string]: string | undefined }): Promise<PartFinding[]> {
  const lines: string[] = [];
  const logTo = { write: (line: string) => void lines.push(line) };
  let foundation: Foundation;
  try {
    const pending = env.DATABASE_URL ? await pendingMigrations(env.DATABASE_URL, env.WRIT_DATABASE_SCHEMA) : [];
    if (pending.length > 0)
      return [
        {
          part: 'database',
          what: 'its schema is this release’s',
          state: 'fails',
          found: `it lacks ${pending.length} migrations; they are applied by a start, and not by this command`,
          fix: 'Run `npx writ database prepare --apply` as the owner, or start the broker; then ask again.',
        },
      ];
    // Nothing is made where nothing is: the first start makes the embedded database, and its keys.
    const fresh = !env.DATABASE_URL && !existsSync(join(env.WRIT_DATA_DIR || '.writ', 'database'));
    foundation = await openFoundation(env, { logTo, ...(fresh ? { inMemory: true } : {}) });
  } catch (error) {
    return notOpened(error);
  }
  try {
    const { settings, clock } = foundation;
    const url = settings.WRIT_ISSUER_URL ?? `http://127.0.0.1:${settings.PORT}`;
    const parts = createParts(foundation, url, unguarded);
    const signIn = await identityProvider(settings, url, clock);
    return [
      { part: 'settings', what: 'the environment can be read', state: 'holds' },
      ...(await diagnose(diagnoseDeps(parts, signIn))),
    ];
  } catch (error) {
    return notOpened(error);
  } finally {
    await foundation.store.close();
  }
}

function notOpened(error: unknown): PartFinding[] {
  if (error instanceof ConfigurationError)
    return error.faults.map((fault) => ({
      part: 'settings',
      what: 'the environment can be read',
      state: 'fails',
      found: fault,
      fix: 'Set it as docs/reference/configuration.md says.',
    }));
  const words = `${(error as Error).message ?? error}`.split('\n')[0]!;
  return [
    {
      part: 'database',
      what: 'the database can be opened',
      state: 'fails',
      found: words,
      fix: 'Look at DATABASE_URL. Where a broker runs on the embedded database, ask that one: set WRIT_URL and WRIT_ADMIN_TOKEN.',
    },
  ];
}
