/** What this Google Cloud consists of: service accounts, buckets, and every access token it has given out. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../broker/core/vocabulary.ts';
import type { Boundary } from './boundary.ts';

export interface ServiceAccountSeed {
  email: string;
  /**
   * Who may call generateAccessToken on it (roles/iam.serviceAccountTokenCreator or workloadIdentityUser).
   * Default: the broker's principal.
   */
  tokenCreators?: string[];
  /** What the account itself may do in Cloud Storage. */
  storage?: { bucket: string; role: string }[];
}

export interface ServiceAccount {
  email: string;
  uniqueId: string;
  tokenCreators: ReadonlySet<string>;
  storage: readonly { bucket: string; role: string }[];
  /**
   * What an administrator set, oldest first. It takes effect `disableLagMs` later; reads through the IAM API
   * see it at once.
   */
  changes: { at: number; disabled: boolean }[];
}

export interface Content {
  bytes: Buffer;
  contentType: string;
}

export interface StoredObject extends Content {
  /** Another for each content; a later one is larger. */
  generation: bigint;
  updated: number;
}

export interface AccessToken {
  /** IAM member: `serviceAccount:EMAIL` or `principal://…/subject/SUB`. */
  member: string;
  account: ServiceAccount | null;
  scopes: ReadonlySet<string>;
  expiresAt: number;
  boundary: Boundary | null;
}

export interface World {
  clock: Clock;
  accounts: Map<string, ServiceAccount>;
  buckets: Map<string, Map<string, StoredObject>>;
  /** Managed folders of each bucket, by their names. */
  managedFolders: ReadonlyMap<string, ReadonlySet<string>>;
  lastGeneration: bigint;
  tokens: Map<string, AccessToken>;
  /** Members that hold roles/iam.serviceAccountAdmin on the project. */
  admins: ReadonlySet<string>;
  disableLagMs: number;
}

export function serviceAccount(seed: ServiceAccountSeed, index: number, defaultCreator: string): ServiceAccount {
  return {
    email: seed.email,
    uniqueId: String(100_000_000_000_000_000_000n + BigInt(index)),
    tokenCreators: new Set(seed.tokenCreators ?? [defaultCreator]),
    storage: seed.storage ?? [],
    changes: [],
  };
}

/** Content as it is stored now: at Google generations are microseconds, never the same twice. */
export function stored(world: Pick<World, 'clock' | 'lastGeneration'>, content: Content): StoredObject {
  const updated = world.clock.now().getTime();
  const now = BigInt(updated) * 1000n;
  world.lastGeneration = now > world.lastGeneration ? now : world.lastGeneration + 1n;
  return { ...content, generation: world.lastGeneration, updated };
}

/** The account by e-mail or unique id, as every IAM method takes it. */
export function findAccount(world: World, emailOrId: string): ServiceAccount | null {
  const byEmail = world.accounts.get(emailOrId);
  if (byEmail !== undefined) return byEmail;
  return [...world.accounts.values()].find((account) => account.uniqueId === emailOrId) ?? null;
}

/** What `serviceAccounts.get` shows: the administrator's last word. */
export function isMarkedDisabled(account: ServiceAccount): boolean {
  return account.changes.at(-1)?.disabled ?? false;
}

/** What the rest of Google Cloud acts on: the last word that has had time to spread. */
export function isEffectivelyDisabled(world: World, account: ServiceAccount): boolean {
  const spread = world.clock.now().getTime() - world.disableLagMs;
  return account.changes.findLast((change) => change.at <= spread)?.disabled ?? false;
}

/** Records a token and returns its text. Opaque and unique, like the real ones. */
export function grantToken(world: World, token: AccessToken): string {
  const text = `ya29.${token.boundary === null ? 'c' : 'd'}.${randomBytes(48).toString('base64url')}`;
  world.tokens.set(text, token);
  return text;
}

/**
 * The living token behind a text, or null: unknown, expired, or its account disabled. Nothing is deleted on
 * disable, so enabling the account again brings unexpired tokens back to life, as Google documents for
 * `serviceAccounts.enable`.
 */
export function liveToken(world: World, text: string): AccessToken | null {
  const token = world.tokens.get(text);
  if (token === undefined) return null;
  if (token.expiresAt <= world.clock.now().getTime()) return null;
  if (token.account !== null && isEffectivelyDisabled(world, token.account)) return null;
  return token;
}

const cloudPlatform = 'https://www.googleapis.com/auth/cloud-platform';

export function hasScope(token: AccessToken, ...scopes: string[]): boolean {
  return [cloudPlatform, ...scopes].some((scope) => token.scopes.has(scope));
}
