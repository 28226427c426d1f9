/** Asks the server, as the broker's own role, whether it is let in and what was prepared holds. */
import { type Finding, ProviderError } from '../contract.ts';
import { withoutTrace } from './connection.ts';
import { asProviderError } from './errors.ts';
import { asBroker, type Ground } from './ground.ts';
import type { Limits } from './limits.ts';
import type { PostgresParams } from './params.ts';
import { permissionOf, planFor } from './plan.ts';
import { findRelations } from './relations.ts';

/** Never throws. */
export async function diagnose(
  ground: Ground,
  limits: Limits,
  used: readonly PostgresParams[],
  signal: AbortSignal,
): Promise<Finding[]> {
  const { address, database, user } = ground.settings.WRIT_POSTGRES_URL;
  const server = `${address.host}:${address.port}`;
  const lets = `${server} lets ${user} into ${database}`;
  const away = await failureOf(
    asBroker(ground, 'writ doctor', signal, (connection) => connection.query('SELECT 1')),
    signal,
  );
  if (away !== null)
    return [
      {
        what: lets,
        state: 'fails',
        found: wordsOf(away),
        fix: 'Look at WRIT_POSTGRES_URL (user, password, database, sslmode) and at pg_hba.conf; `npx writ provider postgres prepare` makes the role.',
      },
    ];
  const prepared = 'what was prepared holds';
  const fix = 'Run `npx writ provider postgres prepare --check`, and prepare again what it names.';
  const found = await limits.find(signal).catch((error: unknown) => [wordsOf(asFailure(error, signal))]);
  return [
    { what: lets, state: 'holds' },
    ...(found.length === 0
      ? [{ what: prepared, state: 'holds' } as const]
      : found.map((fault) => ({ what: prepared, state: 'fails', found: fault, fix }) as const)),
    ...(await ofTables(ground, used, signal)),
  ];
}

/** Each table of a manifest in force, once. */
async function ofTables(ground: Ground, used: readonly PostgresParams[], signal: AbortSignal): Promise<Finding[]> {
  const findings = new Map<string, Finding>();
  const bounds = { database: ground.settings.WRIT_POSTGRES_URL.database, hasReplica: true };
  for (const params of used)
    for (const table of params.tables) {
      const key = JSON.stringify([table.schema, table.table, table.through, Object.keys(table.rows).sort()]);
      if (findings.has(key)) continue;
      const what = `${table.schema}.${table.table} is prepared as manifests use it`;
      const plan = planFor({ ...params, tables: [table] }, 60, bounds);
      const failure = await failureOf(
        asBroker(ground, 'writ doctor', signal, (connection) =>
          withoutTrace(connection, () => findRelations(connection, permissionOf(plan).tables)),
        ),
        signal,
      );
      findings.set(
        key,
        failure === null
          ? { what, state: 'holds' }
          : {
              what,
              state: 'fails',
              found: wordsOf(failure),
              fix: 'Prepare it: `npx writ provider postgres prepare --table SCHEMA.TABLE=COLUMN`, or correct the manifest.',
            },
      );
    }
  return [...findings.values()];
}

const failureOf = (call: Promise<unknown>, signal: AbortSignal): Promise<ProviderError | null> =>
  call.then(
    () => null,
    (error) => asFailure(error, signal),
  );

const asFailure = (error: unknown, signal: AbortSignal): ProviderError =>
  error instanceof ProviderError ? error : asProviderError(error, { signal, doing: 'asking' });

const wordsOf = ({ message, providerText }: ProviderError): string =>
  providerText === null ? message : `${message}: ${providerText}`;
