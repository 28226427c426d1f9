/** What a database is to the rooms: `open.ts` opens one. */
import type { RowProofs } from '../core/proven-rows.ts';
import type { PrismaClient } from './prisma/client.ts';

/**
 * What PostgreSQL takes as a bind parameter. JSON goes in as text (`JSON.stringify`) with a cast in the SQL.
 */
export type SqlValue = Scalar | Scalar[];
type Scalar = string | number | boolean | Date | null;

/** A statement with a name, so that a server prepares it once per connection. */
export interface Statement {
  name: string;
  text: string;
}

export interface Store {
  readonly backend: 'pglite' | 'postgres';
  /** Where the tables are. */
  readonly schema: string;
  /** Reads, off the hot path. Never for changes: see README.md here. */
  readonly prisma: PrismaClient;
  /**
   * Runs one statement in one round trip and its own transaction; every state change goes through here
   * together with its audit row.
   * @returns the rows, columns named as the SQL names them; `timestamptz` as Date, `json` parsed
   */
  run<Row>(statement: Statement, values: SqlValue[]): Promise<Row[]>;
  /** For whoever reads or writes a row that grants power: the two belong together. */
  readonly proofs: RowProofs;
  /** Statements run so far, by `run` and by `prisma`: what the benchmark divides by requests. */
  roundTrips(): number;
  /** Why this database will answer no more unless the process is started anew, in words; null = it may. */
  broken(): string | null;
  close(): Promise<void>;
}

export interface StoreOptions {
  /** PostgreSQL URL; null = embedded. */
  databaseUrl: string | null;
  /** Folder of the embedded database; null = in memory (tests). */
  dataDir: string | null;
  /**
   * Embedded, in memory: start from this dump of a data folder instead of making one (tests: seven times
   * faster).
   */
  image?: Blob;
  poolSize?: number;
  /** How long a database may say nothing, in milliseconds. */
  queryTimeoutMs?: number;
  /** Embedded, on disk: free space below which nothing is written, in bytes. Default 0. */
  minFreeBytes?: number;
  /** Reads the free space, in bytes; tests replace it. */
  freeBytes?(): number;
  /** Proves rows, under the key-encryption key; without it no row of this store gives a right. */
  proofs?: RowProofs;
  /** Schema of the server to live in; tests give each suite its own. */
  schema?: string;
  /** Told what an operator should know of a start that takes long, or of what was found. */
  say?(message: string): void;
}
