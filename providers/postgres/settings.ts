/** How the PostgreSQL provider is switched on: environment variables → typed settings. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type Address, readAddress, readTarget, type Target } from './target.ts';

/** Compose files and CI pass variables that are set but empty: those count as absent. */
const optional = <Output>(schema: z.ZodType<Output, string>) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema.optional()).optional();

const seconds = (min: number, max: number, fallback: number) =>
  z.preprocess(
    (value) => (value === '' ? undefined : value),
    z
      .string()
      .regex(/^\d{1,6}$/, 'must be a whole number')
      .transform(Number)
      .pipe(z.number().min(min).max(max))
      .default(fallback),
  );

const target = z.string({ error: 'is required: the broker’s own connection' }).transform((text, context): Target => {
  const read = readTarget(text);
  if (typeof read !== 'string') return read;
  // What is wrong, without the text: there is a password in it.
  context.addIssue({ code: 'custom', message: read });
  return z.NEVER;
});

const address = z.string().transform((text, context): Address => {
  const read = readAddress(text);
  if (read !== null) return read;
  context.addIssue({ code: 'custom', message: 'must be HOST or HOST:PORT' });
  return z.NEVER;
});

const certificates = z
  .string()
  .transform((path, context): string => {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      const reason = (error as NodeJS.ErrnoException).code ?? 'unknown error';
      context.addIssue({ code: 'custom', message: `names a file that cannot be read (${reason})` });
      return z.NEVER;
    }
  })
  .pipe(z.string().regex(/-----BEGIN CERTIFICATE-----/, 'must be a file with certificates in PEM form'));

export const switchedOnBy = ['WRIT_POSTGRES_URL', 'WRIT_POSTGRES_AGENT_ADDRESS', 'WRIT_POSTGRES_REPLICA_ADDRESS'];

export const settings = z.object({
  WRIT_POSTGRES_URL: target.describe(
    'The broker’s own connection to the database with the data: postgres://writ_broker:PASSWORD@HOST/DATABASE?sslmode=verify-full. `sslmode` is verify-full, require (encrypted, the server not verified) or disable; default verify-full, on loopback disable.',
  ),
  WRIT_POSTGRES_CA_FILE: optional(certificates).describe(
    'Path of the certificates (PEM) that the server’s is verified with, by the broker and by agents; absent = those of the system.',
  ),
  WRIT_POSTGRES_AGENT_ADDRESS: optional(address).describe(
    'HOST or HOST:PORT where agents connect, such as a pooler; default the address in WRIT_POSTGRES_URL.',
  ),
  WRIT_POSTGRES_REPLICA_ADDRESS: optional(address).describe(
    'HOST or HOST:PORT of a read replica, for capabilities that name `server: replica`.',
  ),
  WRIT_POSTGRES_ROLE_PREFIX: z
    .preprocess(
      (value) => (value === '' ? undefined : value),
      z
        .string()
        .regex(/^[a-z][a-z0-9_]{1,20}_$/, 'must be lower case letters, digits and underscores, the last an underscore')
        .refine((text) => !text.startsWith('pg_'), 'must not begin with pg_')
        .default('writ_'),
    )
    .describe('What the names of leases’ roles begin with; two brokers on one server need two.'),
  WRIT_POSTGRES_CONNECTIONS: seconds(1, 100, 5).describe('How many connections one lease may have at once.'),
  WRIT_POSTGRES_STATEMENT_SECONDS: seconds(1, 86_400, 60).describe(
    'Default `statement_timeout` of a lease’s sessions; an agent may set another.',
  ),
  WRIT_POSTGRES_LOCK_SECONDS: seconds(1, 3_600, 5).describe(
    'Default `lock_timeout` of a lease’s sessions; an agent may set another.',
  ),
  WRIT_POSTGRES_IDLE_SECONDS: seconds(1, 86_400, 60).describe(
    'Default `idle_in_transaction_session_timeout` of a lease’s sessions; an agent may set another.',
  ),
  WRIT_POSTGRES_MAX_TTL_SECONDS: seconds(10, 43_200, 3600).describe('Longest lifetime of a lease’s role.'),
});

export type PostgresSettings = z.infer<typeof settings>;
