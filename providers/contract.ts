/**
 * What a provider is: the one interface between the broker and a system that mints credentials.
 *
 * providers/ imports only this file and nothing of the broker's: no database, no policy, no HTTP of ours.
 * Every provider passes `conformance.ts` against its counterpart. To add one: `docs/adding-a-provider.md`.
 */
import type { z } from 'zod';

/**
 * Anything JSON can carry. Values that are digested, signed or stored are of this type, never class
 * instances.
 */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** The one source of time. `compose/` injects the system's; tests inject one they move by hand. */
export interface Clock {
  now(): Date;
  /** Resolves after `ms`, or rejects with the signal's reason as soon as it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/**
 * How a provider can end a credential.
 * immediate: the provider kills it on request; eventual: the kill takes effect after the provider's lag;
 * expiry: nothing but the credential's own end stops it.
 */
export type RevocabilityKind = 'immediate' | 'eventual' | 'expiry';

export interface Revocability {
  kind: RevocabilityKind;
  /** One or two sentences for the approver: what ends the credential, how fast, who enforces its end. */
  text: string;
}

/**
 * The exact permission a provider will put into the credential: pure data. Its digest (see
 * `broker/decide/plan-digest.ts`) is what policy decided on, what the approver saw and what the provider is
 * asked for.
 */
export interface Plan {
  provider: string;
  /**
   * The permission in the provider's own terms (an IAM policy, repositories and permissions, a boundary …).
   */
  permission: JsonObject;
  /** Effective lifetime of the credential in seconds; narrowing it makes a new plan with a new digest. */
  ttl_seconds: number;
  /**
   * What was read at the target when the plan was made (`Provider.state`), and how often it was made anew
   * because that had changed. The credential does not depend on it; consent does.
   */
  state?: { round: number; seen: JsonObject };
}

/** What people read about a plan. Derived from it, never part of the digest. */
export interface PlanDescription {
  /** Plain-language lines, one fact each, e.g. "Read objects under customers/42/ in the S3 bucket orders". */
  summary: string[];
  revocability: Revocability;
}

/**
 * What a plan may do at most, as patterns, for questions such as "who could ever write there". `*` stands for
 * any text and `?` for one character; `\\` takes the next character for itself (`literally`).
 */
export interface Reach {
  /** In the provider's own words, such as `s3:PutObject`. */
  actions: string[];
  resources: string[];
  /** A condition besides, in words: it holds for some requests only. */
  onlyIf?: string;
  /** Why nobody can tell, without asking the target, whether it reaches what the patterns take. */
  uncertain?: string;
}

/** Something among the parameters that can be lowered: to one of a few steps, or to a longer text. */
export interface Level {
  /** JSON Pointer (RFC 6901) into the parameters. */
  pointer: string;
  /** What it is, as people read it. */
  name: string;
  /** What it is now, as people read it. */
  now: string;
  /** What it may be lowered to, the highest first. Without `value`, the member is left out. */
  steps?: { key: string; text: string; value?: Json }[];
  /** What a text that is typed in its place begins with; empty = with anything. */
  begins?: string;
}

/** A warning about parameters that may well work. */
export interface Advice {
  path: (string | number)[];
  message: string;
  /** What was written, and the names that are known: one of them may have been meant. */
  near?: { written: string; known: readonly string[] };
}

/**
 * `params` of a refinement (zod) that is about how a text ends: the check of a manifest then sees that a text
 * which ends in an input cannot be relied on to end so.
 */
export const aboutItsEnd = { about: 'end' } as const;

/**
 * `params` of a refinement (zod) that is about which members there are, how many, or two that are the same:
 * the check of a manifest then sees that no value of an input could mend it.
 */
export const aboutItsShape = { about: 'shape' } as const;

/** The input that a text of a manifest ends in; null where it ends in something else. */
export const lastInput = (text: unknown): string | null =>
  typeof text === 'string' ? (/\$\{inputs\.([^{}]+)\}$/.exec(text)?.[1] ?? null) : null;

/** A text as a pattern of `Reach` that takes nothing else. */
export const literally = (text: string): string => text.replace(/[*?\\]/g, '\\$&');

/** Everything a provider may know when it mints. Holds no other lease's data. */
export interface IssueContext {
  plan: Plan;
  /**
   * Unique per credential; providers put it where the target's own logs show it (SourceIdentity, request
   * reason …).
   */
  leaseId: string;
  sessionId: string;
  agent: string;
  /**
   * The member of `pool(plan)` that the broker reserved for this lease alone; absent when the provider has no
   * pool.
   */
  reserved?: string;
  /** Aborts when the broker gives up waiting. Every upstream call must honour it. */
  signal: AbortSignal;
}

/** What comes back from a successful mint. `credential` and `secret` never reach a log, a row or an error. */
export interface Issued {
  /** Handed to the agent exactly once. Must contain `type`, the discriminator the SDK switches on. */
  credential: JsonObject & { type: string };
  /** When the lease ends: never later than mint time + plan.ttl_seconds. */
  expiresAt: Date;
  /**
   * When the provider itself accepts the credential no more. Later than `expiresAt` where the provider cannot
   * go as short as the plan (GitHub: one hour): then the broker's timer revokes at `expiresAt`. Equal to it
   * elsewhere.
   */
  providerExpiresAt: Date;
  /** Non-secret data that revocation needs (role ARN, account e-mail). Stored as it is. */
  handle: JsonObject;
  /**
   * Secret data that revocation needs (GitHub's token). The broker seals it under the key-encryption key and
   * wipes it when the lease ends.
   */
  secret?: string;
}

/**
 * One credential to be ended. `handle` is null when the broker died between the provider's answer and its own
 * commit.
 */
export interface RevocationTarget {
  leaseId: string;
  plan: Plan;
  handle: JsonObject | null;
  secret: string | null;
  reserved: string | null;
  /** When the lease's intent was committed; the mint cannot be older. */
  intentAt: Date;
  /**
   * Latest moment at which the provider can still accept the credential (an upper bound when the mint's
   * answer was lost).
   */
  providerExpiresAt: Date;
  /**
   * Since when `revoke` has found the kill of this lease in place; null before, and after a failure: what was
   * in place meanwhile is not known.
   */
  settlingSince: Date | null;
}

export type RevocationOutcome =
  /**
   * The provider said so, or what it did was read back and its lag has passed. `evidence` is stored and
   * shown: no secrets.
   */
  | ({ state: 'revoked'; evidence: JsonObject } & SideEffects)
  /**
   * The kill is in place at the provider but its documented lag has not passed: call again at `recheckAt`.
   * `anew`: it had gone and was made again, so that `settlingSince` is now.
   */
  | ({ state: 'settling'; recheckAt: Date; evidence: JsonObject; anew?: boolean } & SideEffects)
  /**
   * Nothing can end it before its natural expiry (revocability `expiry`, or the secret was lost in a crash).
   */
  | { state: 'wait_for_expiry'; evidence: JsonObject }
  | ({ state: 'failed'; error: ProviderError } & Pick<SideEffects, 'rewritten'>);

/** What a write of a shared document did to leases that were not asked about. */
export interface SideEffects {
  alsoEnded?: AlsoEnded;
  /**
   * Ids of `outstanding`, none of `due`, whose denial was not in the document before the write, or is not in
   * what was read back after it.
   */
  rewritten?: string[];
}

/**
 * The shared document had no room for a denial of each, so it ends more than was asked for: every credential
 * of the target's document whose handle's `issued_at` (ISO, the provider's clock) is before this. Leases of
 * them that the core still counts as alive are not: it must end them as well.
 */
export interface AlsoEnded {
  issuedBefore: Date;
}

export type ProbeOutcome = { alive: boolean; evidence: JsonObject };

/**
 * A provider is a plain object made by a factory from frozen settings and injected clients.
 * Required: name, limits, params, plan, describe, issue, revoke. The rest is for providers that need it.
 */
export interface Provider<Params = unknown> {
  readonly name: string;
  /**
   * Longest and shortest lifetime the provider can give, in seconds. The broker clamps the TTL to maxTtl and
   * refuses below minTtl.
   */
  readonly limits: {
    minTtlSeconds: number;
    maxTtlSeconds: number;
    /**
     * How long a credential may outlive its plan at the provider (GitHub: 3600 whatever was asked); upper
     * bound for a lost answer.
     */
    longestProviderLifetimeSeconds: number;
  };
  /**
   * The same for these parameters, where they have bounds of their own (a role's longest session): never more
   * than `limits` allows, and never more than is known to be given. No I/O. Absent: `limits`.
   */
  lifetimes?(params: Params): Lifetimes;
  /**
   * Shape of the capability's parameters. Strict: unknown keys are refused. Published in the manifest
   * reference.
   */
  readonly params: z.ZodType<Params>;
  /**
   * Shape of the credential, strict, `type` included: what the HTTP reference and `/openapi.json` say of it.
   * Absent: any members beside `type`.
   */
  readonly credential?: z.ZodObject;
  /**
   * Pure: what an admin should know of parameters that are taken, because the target and not this list is the
   * authority on them. They may be of any shape, and their texts may hold inputs. Absent: nothing.
   */
  advise?(params: unknown): Advice[];
  /**
   * Pure: parameters → the exact permission. No I/O, no clock, no randomness: equal input gives an equal
   * plan. Throws ProviderError('bad_params', path) for what the schema cannot say (a role outside the
   * allow-list, a policy over the size limit).
   */
  plan(params: Params, ttlSeconds: number): Plan;
  /** Pure: a plan in words, and how it can be ended. */
  describe(plan: Plan): PlanDescription;
  /**
   * Pure: whether whatever a plan may do, the other may, and as long. What an approver narrows a request to
   * must be so. False where nobody can tell. Absent: an approver may shorten its life alone.
   */
  narrower?(plan: Plan, than: Plan): boolean;
  /**
   * Pure: what a reviewer may lower in these parameters, besides leaving members of lists out. What comes of
   * it is planned anew, and `narrower` says whether it is less: nothing here is taken on trust. Absent:
   * nothing.
   */
  levels?(params: Params): Level[];
  /**
   * Reads at the target what a plan is about as it is now: a branch's head, an object's version, how many
   * rows. The same for the same state, small, no secret; `describe` says it in words when it stands in the
   * plan. Throws ProviderError where it cannot be read, or where a plan is about nothing of the kind. Absent:
   * nothing is read.
   */
  state?(plan: Plan, signal: AbortSignal): Promise<JsonObject>;
  /**
   * Pure: what a plan may do at most. What a value of the parameters is put into stands in it to the letter.
   * Absent: what its credentials reach can be told by asking people.
   */
  reach?(plan: Plan): Reach[];
  /** Words of `Reach` that are the same in either case: `actions`, or `all`. */
  readonly caselessReach?: 'actions' | 'all';
  /**
   * Mints one credential cut down to `plan`. Two calls never return the same credential. Throws
   * ProviderError.
   */
  issue(context: IssueContext): Promise<Issued>;
  /**
   * Ends credentials. Idempotent: revoking twice, or what is already gone, is `revoked`. Never throws: each
   * target has its own outcome, in order.
   *
   * `outstanding`: for a provider with `lockKey`, all leases of that document whose denial must stand after
   * this call (revoking, or revoked and not yet expired), `due` included. It is the whole truth from the
   * database: write it, do not merge it with what the target has.
   */
  revoke(due: RevocationTarget[], outstanding: RevocationTarget[], signal: AbortSignal): Promise<RevocationOutcome[]>;
  /**
   * Names the upstream document that only one worker may write at a time (an IAM role's policy), derived from
   * the plan alone so that it is known even when the mint's answer was lost. The broker holds a lock on
   * `provider:lockKey` while `revoke` or `prune` runs.
   */
  lockKey?(plan: Plan): string;
  /**
   * How many denials the document of `lockKey` holds beside what else is in it, as far as is known: so many
   * leases may be alive or denied there at once, and one more is not minted. Null = no lease needs a denial.
   * A lease whose mint's answer was lost may take two.
   * Throws ProviderError where it was never known: then nothing is minted.
   */
  denialsThatFit?(plan: Plan, signal: AbortSignal): Promise<number | null>;
  /**
   * Rewrites the shared document after denials have expired, so that its size stays bounded.
   * @returns ids of `outstanding` whose denial was not in the document and is now
   */
  prune?(lockKey: string, outstanding: RevocationTarget[], signal: AbortSignal): Promise<string[]>;
  /**
   * Exclusive upstream resources (service accounts) one of which must be reserved per lease; null or absent =
   * none needed.
   */
  pool?(plan: Plan): string[] | null;
  /** All resources that `pool` ever names: what agents share. Absent: what `pool` names. */
  readonly poolMembers?: readonly string[];
  /**
   * Makes a pool member usable again once the last credential minted on it has expired. Called before the
   * reservation is freed.
   */
  release?(reserved: string, signal: AbortSignal): Promise<void>;
  /**
   * Asks the target itself whether the credential still works; "I cannot tell" is alive. The broker does not
   * call it: what `revoke` answers is what counts. It is for providers' own proofs, for the conformance suite
   * and for operators' tools.
   */
  probe?(target: RevocationTarget, signal: AbortSignal): Promise<ProbeOutcome>;
  /**
   * Tries at the target, once the broker has started, whether what a plan relies on holds there. What does
   * not is in the words of `describe` from then on. Throws ProviderError where it could not be told.
   * @returns what does not hold, in words for an admin
   */
  findLimits?(signal: AbortSignal): Promise<string[]>;
  /**
   * Asks the target, on request, whether what minting and ending rely on is there: `writ doctor`. Changes
   * nothing; what it has to mint may do nothing, or is ended before this resolves. Never throws: what could
   * not be told is a finding.
   * @param used parameters of the capabilities in force, each as the schema leaves them
   */
  diagnose?(used: readonly Params[], signal: AbortSignal): Promise<Finding[]>;
  /** What the target has of leases, where it can be listed: compared with the rows by `writ reconcile`. */
  readonly traces?: Traces;
  /** The provider's own clock, where its answers tell it. */
  readonly clock?: ProviderClock;
  /**
   * True where `revoke` tries the credential itself, from the secret it is given: then it is asked past the
   * natural end too, and the lease is not called expired on a clock's word.
   */
  readonly triesCredential?: boolean;
}

/** One thing that was looked at because somebody asked. Shown to admins: no secret in it. */
export interface Finding {
  /** As a statement: "the role … trusts this broker". */
  what: string;
  /** `unknown`: it could not be told, or nothing of the kind is set up. */
  state: 'holds' | 'fails' | 'unknown';
  /** What was found instead, or why it could not be told. */
  found?: string;
  /** What to do about it, in words. */
  fix?: string;
}

/** The lifetimes that a provider can give, in seconds. */
export interface Lifetimes {
  minTtlSeconds: number;
  maxTtlSeconds: number;
  /** The longest is the one that is always given; more may be, once it was tried. */
  untried?: true;
}

/** With these parameters, or with any. */
export const lifetimesOf = (provider: Provider, params?: unknown): Lifetimes =>
  params === undefined ? provider.limits : (provider.lifetimes?.(params) ?? provider.limits);

/** What a target has of leases. */
export interface Traces {
  /** What the target calls a lease. Pure. */
  nameOf(leaseId: string): string;
  /** All that is there of leases or could pass for it. Reads alone. Throws ProviderError. */
  list(signal: AbortSignal): Promise<Trace[]>;
}

/** One thing at the target. */
export interface Trace {
  name: string;
  /** In words for an admin: "a role that may log in until 2031-03-01T10:15:00.000Z, with 2 scope rows". */
  what: string;
  /** Whether it is a credential; a lease that is active has one. */
  usable: boolean;
  /** Whether it is named as this broker names leases; what is not may be another's. */
  ours: boolean;
}

/** How long a kill, and what it needs, is kept after the credential's end by the provider's own clock. */
export const keepAfterEndMs = 60_000;

/** The provider's clock against ours. */
export interface ProviderClock {
  /** The provider's time minus ours, as last measured; null while it was not. */
  skewMs(): number | null;
  /**
   * The provider's time now. Asks the provider when the last measurement is old. @throws ProviderError
   */
  askNow(signal: AbortSignal): Promise<Date>;
}

/**
 * How a provider is switched on: by environment variables alone. `registry.ts` lists the modules;
 * `broker/config/settings.ts` reports every fault of all of them in one message.
 */
export interface ProviderModule<Settings = unknown> {
  readonly name: string;
  /** The provider is wanted when any of these variables is set and not empty; then `settings` must parse. */
  readonly switchedOnBy: readonly string[];
  /**
   * Zod object over environment variables (string in, typed out), every one with `.describe(…)`:
   * `docs/reference/configuration.md` is made from it. A missing or malformed variable must give an issue
   * whose path or message names it.
   */
  readonly settings: z.ZodType<Settings>;
  /**
   * The same as the provider's `params`, known without switching it on: manifests are checked and documented
   * against it.
   */
  readonly params: z.ZodType;
  create(settings: Settings, deps: ProviderDeps): Provider;
}

/** Injected into every provider factory. */
export interface ProviderDeps {
  clock: Clock;
  /**
   * Signs a short-lived OIDC token of the broker's own issuer (ES256, `iss`, `iat`, `exp`, `jti` are added)
   * for keyless federation with AWS and GCP. `ttlSeconds` at most 300.
   *
   * `now`: the time by the clock of whoever will judge the token; ours when left out.
   */
  signIdentityToken(
    claims: { sub: string; aud: string; [claim: string]: Json },
    ttlSeconds: number,
    now?: Date,
  ): Promise<string>;
}

export type ProviderErrorCode =
  /** The parameters can never work; `path` says which. Raised before any I/O. */
  | 'bad_params'
  /** The target refused and will refuse again: permissions, trust policy, missing repository. */
  | 'upstream_refused'
  /** Rate limit, 5xx, connection reset: may work later. */
  | 'upstream_unavailable'
  /** No answer in time. The mint may have happened. */
  | 'upstream_timeout'
  /**
   * The target answered something wider than, or different from, the plan. The credential was revoked or
   * discarded.
   */
  | 'upstream_mismatch'
  /** Every member of the pool is in use or in quarantine. */
  | 'pool_exhausted';

/** What is known of a failure besides its code. */
export interface ProviderErrorOptions {
  /** May the same call succeed later, without anybody changing anything? Default: by the code. */
  retryable?: boolean;
  providerCode?: string;
  /** The provider's own words, through `answerText` (answer-text.ts): clamped, without anything secret. */
  providerText?: string | null;
  path?: string;
  mayHaveMinted?: boolean;
  /** How long the provider asked us to wait; through `waitSeconds` (answer-wait.ts). */
  retryAfterSeconds?: number | null;
  /** What is known of a credential that exists although the call failed. Needs `mayHaveMinted`. */
  minted?: Minted;
}

/**
 * A credential that exists and that nobody was given: what ending it needs, as in `Issued`. `handle` is null
 * where the answer cannot be believed: as when it was lost, the lease's name must do.
 */
export type Minted = Pick<Issued, 'secret' | 'providerExpiresAt'> & { handle: JsonObject | null };

/**
 * A failure at or before the provider. `message` is for logs and operators and must never contain a secret;
 * the agent sees only `code`, `retryable`, `providerCode` and `retryAfterSeconds`.
 */
export class ProviderError extends Error {
  readonly code: ProviderErrorCode;
  readonly retryable: boolean;
  /** The target's own error code or HTTP status, e.g. `AccessDenied`, `422`, `PERMISSION_DENIED`. */
  readonly providerCode: string | undefined;
  /** The provider's own words, for the log and for admins; null when it gave none. */
  readonly providerText: string | null;
  readonly path: string | undefined;
  /**
   * True when the call may have taken effect, or still may, although it failed (timeout, connection lost
   * after sending): a credential may exist. In a `failed` revocation of a provider with `lockKey`: a write
   * may still arrive, so the broker lets nobody write before the lock's own end. False: surely nothing was
   * minted, so the failure costs nothing.
   */
  readonly mayHaveMinted: boolean;
  /**
   * How long the provider asked us to wait before the next try, in whole seconds; null when it did not say.
   */
  readonly retryAfterSeconds: number | null;
  /** Private, so that no log and no inspection of an error shows its secret. */
  readonly #minted: Minted | null;

  constructor(code: ProviderErrorCode, message: string, options: ProviderErrorOptions = {}) {
    super(message);
    this.name = 'ProviderError';
    this.code = code;
    this.retryable =
      options.retryable ??
      (code === 'upstream_unavailable' || code === 'upstream_timeout' || code === 'pool_exhausted');
    this.providerCode = options.providerCode;
    this.providerText = options.providerText ?? null;
    this.path = options.path;
    this.mayHaveMinted = options.mayHaveMinted ?? code === 'upstream_timeout';
    this.retryAfterSeconds = options.retryAfterSeconds ?? null;
    this.#minted = options.minted ?? null;
  }

  /** The credential that exists although the call failed, as far as it is known. */
  minted(): Minted | null {
    return this.#minted;
  }
}
