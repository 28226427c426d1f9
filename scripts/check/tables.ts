/**
 * Every table has an owner: the room whose files alone hold the SQL that writes it. Statements of other rooms
 * take the fragments that the owner exports. Proven from the text of the SQL, as import boundaries are proven
 * from the imports.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runtimeRights, type TableRights } from '../../broker/store/runtime-rights.ts';
import { forTests } from './boundaries.ts';
import type { Part } from './part.ts';
import { readSources } from './sources.ts';

/** Table → files that may write it. */
export const owners: { [table: string]: RegExp } = {
  agent: /^broker\/manifests\//,
  manifest: /^broker\/manifests\//,
  manifest_proposal: /^broker\/manifests\//,
  access_lock: /^broker\/locks\//,
  access_lock_lift: /^broker\/locks\//,
  break_glass: /^broker\/break-glass\//,
  break_glass_use: /^broker\/break-glass\//,
  session: /^broker\/sessions\//,
  replay: /^broker\/sessions\//,
  grants: /^broker\/grants\//,
  access_request_key: /^broker\/grants\//,
  action: /^broker\/actions\//,
  monitor_cell: /^broker\/actions\//,
  manifest_candidate: /^broker\/replay\//,
  shadow_cell: /^broker\/replay\//,
  shadow_difference: /^broker\/replay\//,
  lease: /^broker\/leases\//,
  pool_slot: /^broker\/leases\//,
  upstream_lock: /^broker\/leases\//,
  review: /^approvals\//,
  approval_outbox: /^approvals\//,
  pre_approval: /^approvals\//,
  pre_approval_use: /^approvals\//,
  signing_key: /^broker\/keys\//,
  bootstrap: /^broker\/people\//,
  login: /^broker\/people\//,
  account_name: /^broker\/people\//,
  confirmed_person: /^broker\/people\//,
  passkey: /^broker\/people\/passkeys\//,
  signal: /^broker\/signals\//,
  owner_presence: /^broker\/signals\//,
  stream_event: /^broker\/streams\//,
  event_stream: /^broker\/streams\//,
  told_suspension: /^broker\/streams\//,
  // Nothing can change or delete a row (a trigger holds that).
  audit_event: /^broker\/audit\/append\.ts$/,
  audit_checkpoint: /^broker\/audit\/checkpoints\.ts$/,
  // Only the trigger of audit_event moves a chain's head on.
  audit_chain: /^$/,
};

/** The table of Prisma's own tools, which no schema names. */
const migrationsTable = '_prisma_migrations';
const migrationsOwner = 'broker/store/migrate.ts';

/** Where a lease's status may change, besides being read. */
const transitions = 'broker/leases/transitions.ts';

interface Write {
  table: string;
  line: number;
}

/**
 * What a source writes: by SQL, or through the database client. `FOR UPDATE` and `ON CONFLICT … DO UPDATE`
 * name no table.
 */
export function writesOf(text: string, models: ReadonlyMap<string, string>): Write[] {
  const bySql = /\b(?:INSERT\s+INTO|DELETE\s+FROM|(?<!FOR\s)(?<!DO\s)UPDATE)\s+"?([a-z_]+)"?(?=[\s("])/g;
  const byClient = /\bprisma\.(\w+)\.(?:create|update|upsert|delete)\w*\(/g;
  const at = (index: number) => text.slice(0, index).split('\n').length;
  return [
    ...[...text.matchAll(bySql)]
      .filter(([, name]) => name !== 'of' && name !== 'skip')
      .map((match) => ({ table: match[1]!, line: at(match.index) })),
    ...[...text.matchAll(byClient)].map((match) => ({
      table: models.get(match[1]!.toLowerCase()) ?? match[1]!,
      line: at(match.index),
    })),
  ];
}

/** Model → table, from the schema: `model PoolSlot { … @@map("pool_slot") }`. */
export function tablesOf(schema: string): Map<string, string> {
  return new Map(
    [...schema.matchAll(/^model (\w+) \{((?:.|\n)*?)^\}/gm)].map(([, model = '', body = '']) => [
      model.toLowerCase(),
      /@@map\("(\w+)"\)/.exec(body)?.[1] ?? model.toLowerCase(),
    ]),
  );
}

export function tableFaults(files: { path: string; text: string }[], schema: string): string[] {
  const models = tablesOf(schema);
  const unowned = [...models.values()].filter((table) => !Object.hasOwn(owners, table));
  const gone = Object.keys(owners).filter((table) => ![...models.values()].includes(table));
  const faults = [
    ...unowned.map((table) => `prisma/schema.prisma: the table ${table} has no owner in scripts/check/tables.ts`),
    ...gone.map((table) => `scripts/check/tables.ts: there is no table ${table}`),
  ];
  for (const { path, text } of files) {
    for (const { table, line } of writesOf(text, models)) {
      const owner = owners[table];
      if (table === migrationsTable) {
        if (path !== migrationsOwner) faults.push(`${path}:${line}: writes ${table}, which is for ${migrationsOwner}`);
      } else if (owner === undefined) faults.push(`${path}:${line}: writes ${table}, which no schema knows`);
      else if (!owner.test(path)) faults.push(`${path}:${line}: writes ${table}, which is not this room's to write`);
    }
    if (path === transitions) continue;
    for (const match of text.matchAll(/\bUPDATE\s+lease\b[^`]*?\bSET\b([^`]*?)(?:\bWHERE\b|\bFROM\b|`)/g)) {
      if (/\bstatus\s*=/.test(match[1]!)) {
        const line = text.slice(0, match.index).split('\n').length;
        faults.push(`${path}:${line}: changes a lease's status outside of ${transitions}`);
      }
    }
  }
  const begins = files
    .filter(({ path }) => path === transitions)
    .flatMap(({ text }) => text.match(/SET status = 'revoking'/g) ?? []);
  if (begins.length > 1) faults.push(`${transitions}: ${begins.length} paths lead to revoking; there must be one`);
  return faults;
}

/** What the statements do and the role that brokers run as may not (store/runtime-rights.ts). */
export function rightsFaults(
  files: { path: string; text: string }[],
  schema: string,
  rights: { readonly [table: string]: TableRights } = runtimeRights,
): string[] {
  const tables = [...tablesOf(schema).values()];
  const faults = [
    ...tables.filter((table) => !Object.hasOwn(rights, table)).map((table) => `knows nothing of the table ${table}`),
    ...Object.keys(rights)
      .filter((table) => !tables.includes(table))
      .map((table) => `there is no table ${table}`),
  ].map((fault) => `broker/store/runtime-rights.ts: ${fault}`);
  const need = (path: string, table: string, what: string, given: boolean) => {
    if (Object.hasOwn(rights, table) && !given)
      faults.push(`${path}: ${what} ${table}, which broker/store/runtime-rights.ts does not allow`);
  };
  for (const { path, text } of files.filter((file) => /^(broker|approvals)\//.test(file.path))) {
    let into = '';
    for (const match of text.matchAll(rightsPattern)) {
      const { insert, remove, update, set, conflict } = match.groups ?? {};
      if (insert !== undefined) {
        into = insert;
        need(path, insert, 'INSERT', rights[insert]?.insert === true);
      } else if (remove !== undefined) need(path, remove, 'DELETE', rights[remove]?.delete === true);
      else {
        const table = update ?? into;
        for (const column of columnsSet(set ?? conflict ?? ''))
          need(path, table, `UPDATE ${column}`, rights[table]?.update?.includes(column) === true);
      }
    }
  }
  return faults;
}

const rightsPattern =
  /\bINSERT\s+INTO\s+(?<insert>[a-z_]+)|\bDELETE\s+FROM\s+(?<remove>[a-z_]+)|\bDO\s+UPDATE\s+SET\b(?<conflict>[^`]*?)(?=\bWHERE\b|\bRETURNING\b|`)|(?<!FOR\s)(?<!DO\s)\bUPDATE\s+(?<update>[a-z_]+)(?:\s+[a-z]+)?\s+SET\b(?<set>[^`]*?)(?=\bWHERE\b|\bFROM\b|\bRETURNING\b|`)/g;

/** Columns on the left of `a = …, b = …`; what is between parentheses or CASE and END is on the right. */
function columnsSet(clause: string): string[] {
  let depth = 0;
  let flat = '';
  for (const [token] of clause.matchAll(/\bCASE\b|\bEND\b|[\s\S]/g)) {
    if (token === '(' || token === 'CASE' || token === '{') depth += 1;
    if (depth === 0) flat += token;
    if (token === ')' || token === 'END' || token === '}') depth -= 1;
  }
  return [...flat.matchAll(/(?:^|,)\s*([a-z_]+)\s*=/g)].map(([, name]) => name!);
}

export const tables: Part = {
  name: 'tables have owners',
  run: async (root) => {
    const files = readSources(root)
      .map(({ path }) => path)
      .filter((path) => /^(broker|approvals|providers|client)\//.test(path) && !forTests.test(path))
      .map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));
    const schema = readFileSync(join(root, 'prisma/schema.prisma'), 'utf8');
    return {
      faults: [...tableFaults(files, schema), ...rightsFaults(files, schema)],
      notes: [`${Object.keys(owners).length} tables`],
    };
  },
};
