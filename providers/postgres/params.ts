/** What a capability on PostgreSQL is made of: tables, columns for each verb, and rows. */
import { z } from 'zod';
import { aboutItsShape } from '../contract.ts';

/** PostgreSQL cuts longer names off without a word, and two names would become one. */
const longestNameBytes = 63;

/** Printable text: what is shown to an approver is what is asked for. */
const printable = /^[^\p{C}\p{Zl}\p{Zp}]+$/u;

const name = z
  .string()
  .min(1)
  .regex(printable, 'must not hold control or invisible characters')
  .refine((text) => new TextEncoder().encode(text).length <= longestNameBytes, 'must have at most 63 bytes');

const schemaName = name.refine(
  (text) => !/^(?:pg_|information_schema$|writ$)/.test(text),
  'is a schema of the server or of Writ itself',
);

const columns = z
  .array(name)
  .min(1)
  .max(100)
  .superRefine((names, context) => {
    for (const [index, column] of names.entries())
      if (names.indexOf(column) !== index)
        context.addIssue({ code: 'custom', path: [index], message: 'is named twice', params: aboutItsShape });
  });

/** What a column is compared with. Text is taken as the column's type writes it, and not trimmed or cast. */
const value = z.union([
  z.string().min(1).max(200).regex(printable, 'must not hold control or invisible characters'),
  z.int(),
  z.boolean(),
]);

const rows = z
  .record(name, value)
  .superRefine((scope, context) => {
    const count = Object.keys(scope).length;
    if (count === 0)
      context.addIssue({ code: 'custom', message: 'must name a column, or be "all"', params: aboutItsShape });
    if (count > 4)
      context.addIssue({ code: 'custom', message: 'must name at most four columns', params: aboutItsShape });
  })
  .describe('Column → value, all of which must hold, such as `customer_id` and the task’s input of that name.');

const table = z
  .strictObject({
    schema: schemaName.default('public').describe('Schema of the table.'),
    table: name.describe('The table, by its name as it is stored: no patterns, no quotes.'),
    through: z
      .enum(['policy', 'view'])
      .default('policy')
      .describe('What holds the rows: a row-security policy on the table, or a view in `writ_SCHEMA`.'),
    read: columns.optional().describe('Columns that may be read.'),
    insert: columns.optional().describe('Columns that may be given in new rows.'),
    update: columns.optional().describe('Columns that may be changed.'),
    delete: z.boolean().default(false).describe('Whether rows may be deleted.'),
    rows: z
      .union([z.literal('all'), rows])
      .describe('The rows: column → value, or `all` where the table is prepared without a column.'),
  })
  .refine((one) => one.read !== undefined || one.insert !== undefined || one.update !== undefined || one.delete, {
    path: ['read'],
    message: 'nothing may be done: name columns to read, insert or update, or set delete',
  });

export const params = z
  .strictObject({
    server: z
      .enum(['primary', 'replica'])
      .default('primary')
      .describe('Where the agent connects: `replica` is WRIT_POSTGRES_REPLICA_ADDRESS, for reading alone.'),
    tables: z.array(table).min(1).max(20).describe('The tables; each with its own columns and rows.'),
  })
  .superRefine(({ server, tables }, context) => {
    const seen = new Set<string>();
    for (const [index, one] of tables.entries()) {
      const key = JSON.stringify([one.schema, one.table]);
      if (seen.has(key))
        context.addIssue({ code: 'custom', path: ['tables', index], message: 'is named twice', params: aboutItsShape });
      seen.add(key);
      if (server !== 'replica') continue;
      const verb = one.insert !== undefined ? 'insert' : one.update !== undefined ? 'update' : one.delete && 'delete';
      if (verb)
        context.addIssue({ code: 'custom', path: ['tables', index, verb], message: 'a replica is for reading alone' });
    }
  });

export type PostgresParams = z.infer<typeof params>;
