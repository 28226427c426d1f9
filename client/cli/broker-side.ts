/** What the command asks of a broker's own installation, and how it says that it cannot. */
import type { Anchors, Verification } from '../../broker/audit/verify.ts';

/**
 * What needs the broker's code, keys or embedded database. Only a broker's own installation has it
 * (broker/cli).
 */
export interface BrokerSide {
  /** Verifies the embedded database under WRIT_DATA_DIR. */
  verifyEmbedded(anchors: Anchors): Promise<Verification>;
  /** Holds the cells of history against the record. @returns what differs, each in a line */
  checkHistory(): Promise<{ right: number; differing: string[] }>;
  /** Publishes a new signing key. */
  rotateKeys(): Promise<{ kid: string; leadSeconds: number }>;
  /** Replaces the bootstrap token. @returns the new one */
  renewAdminToken(): Promise<string>;
  /** Withdraws a signing key. @returns the key that signs now; null when there is no such key */
  withdrawKey(kid: string): Promise<string | null>;
  /** Shows, or does, what makes the database's two roles. */
  prepareDatabase(
    env: { [name: string]: string | undefined },
    options: { apply: boolean; migrationRole: string; runtimeRole: string },
  ): Promise<Preparation>;
  /** Shows or does what PostgreSQL, as a provider, needs once: the rows of leases. */
  preparePostgres(
    env: { [name: string]: string | undefined },
    options: PostgresPreparation,
  ): Promise<{ statements: string[]; faults: string[]; notes: string[] }>;
  /**
   * Compares what providers' targets have of leases with the lease rows; changes nothing.
   * @param provider null = each that is switched on
   */
  reconcile(provider: string | null): Promise<Reconciled[]>;
  /** Asks everything that a broker with this environment leans on, without starting one. */
  diagnose(env: { [name: string]: string | undefined }): Promise<PartFinding[]>;
}

/** One thing that was looked at. */
export interface PartFinding {
  part: string;
  what: string;
  state: 'holds' | 'fails' | 'unknown';
  found?: string;
  fix?: string;
}

/** One provider's target against the lease rows. */
export interface Reconciled {
  provider: string;
  /** Whether the target can list what it has of leases; where not, the rest is empty. */
  listed: boolean;
  leases: number;
  /** What is there and of no lease, in whole sentences. */
  faults: string[];
  /** What is there and may be another broker's. */
  notes: string[];
}

/** What of `provider postgres prepare` was asked for. */
export interface PostgresPreparation {
  action: 'prepare' | 'check' | 'undo';
  apply: boolean;
  /** SCHEMA.TABLE=COLUMN,COLUMN each. */
  tables: string[];
  views: string[];
  brokerRole: string;
}

/** What `database prepare` does, or would do. */
export interface Preparation {
  statements: string[];
  /** Migrations applied before the rights are given. */
  pending: string[];
}

/** Loads it when a command needs it; null in the package on its own. */
export type LoadBrokerSide = (() => Promise<BrokerSide>) | null;

/** A command that cannot be carried out, told in whole sentences. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}
