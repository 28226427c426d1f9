/**
 * One grant from the request to the opened credential: ask, wait for a person where one must decide, collect.
 */
import { randomUUID } from 'node:crypto';
import type { Clock } from './clock.ts';
import {
  bad,
  type Credential,
  type CredentialOf,
  type CredentialType,
  expiryOf,
  readCredential,
} from './credentials.ts';
import { type DenialReason, WritDenied, WritError, WritNeedsApproval } from './errors.ts';
import type { Answer, Call } from './http.ts';
import { newSealingKey, type SealingKey } from './seal.ts';
import { untilDecided } from './wait.ts';

/** What the manifest lets the agent choose; what it fixes may be repeated, not changed. */
export type GrantParams = { [name: string]: unknown };

export interface GrantOptions<T extends CredentialType = CredentialType> {
  /** Lifetime asked for; never more is given. Default: 900, or less where the capability says so. */
  ttlSeconds?: number;
  /** For people and for the record. Decides nothing. */
  justification?: string;
  /** The credential expected, `aws` or any other text: types the answer, and refuses one of another type. */
  type?: T;
  /** Called once when a person must decide; show them `approvalUrl`. */
  onPending?: (grant: PendingGrant) => void;
  /**
   * How long to wait for that person. Default: until the broker decides that silence is a no (`decideBy`).
   */
  waitSeconds?: number;
  /**
   * Default `wait`. `sleep`: where a person must decide, the session sleeps and `WritNeedsApproval` says how
   * to go on, where its manifest lets it sleep; where not, this waits.
   */
  onApproval?: 'wait' | 'sleep';
  /** Default true: the credential comes encrypted to a key of this grant, and is opened here. */
  sealed?: boolean;
  /** Stops waiting. What was minted by then is revoked when the session ends. */
  signal?: AbortSignal;
  /** Default: a random one, so that lost answers can be asked for again. */
  idempotencyKey?: string;
}

/** For a grant that was asked for before, perhaps by another process. */
export type CollectOptions<T extends CredentialType = CredentialType> = Pick<
  GrantOptions<T>,
  'type' | 'waitSeconds' | 'signal'
>;

interface GrantFacts {
  id: string;
  capability: string;
  tier: number;
  ttlSeconds: number;
  /** The exact permission, in the provider's own terms, and its digest. */
  plan: { provider: string; permission: { [name: string]: unknown }; ttl_seconds: number; digest: string };
  /** The plan in plain words. */
  summary: string[];
  /** How the credential ends before its time. */
  revocability: { kind: 'immediate' | 'eventual' | 'expiry'; text: string };
}

/** A person must decide. */
export interface PendingGrant extends GrantFacts {
  /** Where an approver signs in and decides. The link alone grants nothing. */
  approvalUrl: string;
  /** Undecided by then = denied. */
  decideBy: Date;
}

/** A credential and what it may do. Neither `console.log` nor `JSON.stringify` shows the credential. */
export interface Grant<C extends { type: string } = Credential> extends GrantFacts {
  leaseId: string;
  expiresAt: Date;
  /** The signed decision (JWS) that the delivering side acted on. */
  decision: string;
  readonly credential: C;
}

/** What is needed of the session. `call` adds its token and proof. */
export interface GrantCalls {
  clock: Clock;
  call(call: Omit<Call, 'token' | 'key'>): Promise<Answer>;
  /** Lets the session sleep. */
  sleep(): Promise<{ resume: string; until: Date }>;
}

/**
 * 1. Make a key to seal to.
 * 2. Ask. Asked again after a lost answer, the same Idempotency-Key is the same grant.
 * 3. Pending: wait for the decision.
 * 4. Approved: collect, once.
 * 5. Open.
 *
 * @throws WritDenied; WritError with the broker's code, or `credential_lost`, `approval_timeout`,
 *   `grant_failed`, `not_sealed`, `wrong_credential`
 */
export async function requestGrant<T extends CredentialType>(
  deps: GrantCalls,
  capability: string,
  params: GrantParams | undefined,
  options: GrantOptions<T>,
): Promise<Grant<CredentialOf<T>>> {
  const { signal } = options;

  // 1.
  const key = options.sealed === false ? null : await newSealingKey();
  const credentialJwk = key === null ? {} : { credential_jwk: key.publicJwk };

  // 2.
  const asked = await deps.call({
    method: 'POST',
    path: '/v1/grants',
    headers: { 'idempotency-key': options.idempotencyKey ?? randomUUID() },
    json: {
      capability,
      ...(params === undefined ? {} : { params }),
      ...(options.ttlSeconds === undefined ? {} : { ttl_seconds: options.ttlSeconds }),
      ...(options.justification === undefined ? {} : { justification: options.justification }),
      ...credentialJwk,
    },
    repeatable: true,
    signal,
  });
  if (asked.status === 201) return openGrant(asked.body, key, options.type);

  // 3.
  const waits = asked.body.status === 'pending';
  if (waits && options.onApproval === 'sleep' && asked.body.needs_approval?.sleep_until !== undefined) {
    const { resume, until } = await deps.sleep();
    const { id: grantId, approval_url: approvalUrl = '' } = asked.body as WireGrant;
    throw new WritNeedsApproval({ resume, grantId, approvalUrl, until });
  }
  const decided = waits ? await waitForDecision(deps, asked.body, options) : asked.body;
  if (decided.status !== 'approved') throw refusalOf(decided);

  // 4.
  const collected = await collect(deps, decided.id, credentialJwk, signal);

  // 5.
  return openGrant(collected.body, key, options.type);
}

/**
 * 3. to 5. for a grant that was asked for before. Its credential is sealed to a key of this process, whatever
 * the one before it gave.
 * @throws as `requestGrant`
 */
export async function collectGrant<T extends CredentialType>(
  deps: GrantCalls,
  grantId: string,
  options: CollectOptions<T>,
): Promise<Grant<CredentialOf<T>>> {
  const decided = await decisionOn(deps, grantId, options);
  if (decided.status !== 'approved') throw refusalOf(decided);
  const key = await newSealingKey();
  const collected = await collect(deps, grantId, { credential_jwk: key.publicJwk }, options.signal);
  return openGrant(collected.body, key, options.type);
}

/**
 * Collects an approved grant. A mint without effect (the provider throttles, say) costs nobody their consent:
 * while the broker says that the approval stands, it is collected again, when the broker says.
 */
async function collect(
  { clock, call }: GrantCalls,
  grantId: string,
  json: { [name: string]: unknown },
  signal: AbortSignal | undefined,
): Promise<Answer> {
  for (;;) {
    try {
      return await call({ method: 'POST', path: `/v1/grants/${grantId}/redeem`, json, repeatable: true, signal });
    } catch (error) {
      if (!(error instanceof WritError)) throw error;
      if (error.code === 'already_redeemed') throw credentialLost(grantId, error);
      if (error.code !== 'provider_unavailable' || error.problem?.grant_status !== 'approved') throw error;
      await clock.sleep((error.retryAfterSeconds ?? 5) * 1000, signal);
    }
  }
}

async function waitForDecision(deps: GrantCalls, first: WireGrant, options: GrantOptions): Promise<WireGrant> {
  options.onPending?.({
    ...factsOf(first),
    approvalUrl: first.approval_url ?? '',
    decideBy: new Date(first.decide_by ?? Number.NaN),
  });
  return decisionOn(deps, first.id, options);
}

function decisionOn(
  { clock, call }: GrantCalls,
  grantId: string,
  { waitSeconds, signal }: Pick<GrantOptions, 'waitSeconds' | 'signal'>,
): Promise<WireGrant> {
  const poll = async (wait: number) => {
    const path = `/v1/grants/${encodeURIComponent(grantId)}?wait=${wait}`;
    const { body, headers } = await call({ method: 'GET', path, repeatable: true, waitSeconds: wait, signal });
    const retryAfter = headers.get('retry-after');
    return { seen: body as WireGrant, retryAfterSeconds: retryAfter === null ? undefined : Number(retryAfter) };
  };
  return untilDecided(clock, poll, { waitSeconds, signal, grantId });
}

/** A grant that will not give a credential to this call. */
function refusalOf(grant: WireGrant): WritError {
  switch (grant.status) {
    case 'denied':
      return new WritDenied(grant.reasons ?? [], undefined, { grantId: grant.id });
    case 'failed':
      return new WritError('grant_failed', 'The provider did not mint the credential', { grantId: grant.id });
    default:
      return credentialLost(grant.id);
  }
}

function credentialLost(grantId: string, cause?: unknown): WritError {
  const message =
    'The credential was delivered once, in an answer that did not arrive. Ask for a new grant; this one is revoked with the session';
  return new WritError('credential_lost', message, { grantId, cause });
}

async function openGrant<T extends CredentialType>(
  wire: WireGrant,
  key: SealingKey | null,
  expected: T | undefined,
): Promise<Grant<CredentialOf<T>>> {
  const credential = readCredential(key === null ? wire.credential : await key.open(wire.credential_jwe));
  if (expected !== undefined && credential.type !== expected) {
    const message = `The capability ${wire.capability} gives a credential for ${credential.type}, not for ${expected}`;
    throw new WritError('wrong_credential', message, { grantId: wire.id });
  }
  const grant = {
    ...factsOf(wire),
    leaseId: wire.lease?.id ?? '',
    expiresAt: expiryOf(credential) ?? leaseEnd(wire),
    decision: wire.decision ?? '',
  };
  // Not enumerable: what logs or serialises the grant leaves the secret out.
  return Object.defineProperty(grant, 'credential', { value: credential }) as Grant<CredentialOf<T>>;
}

/** The lease ends with its credential. */
function leaseEnd({ lease }: WireGrant): Date {
  const at = new Date(lease?.expires_at ?? Number.NaN);
  if (Number.isNaN(at.getTime())) throw bad('the end of the lease');
  return at;
}

function factsOf(wire: WireGrant): GrantFacts {
  const { id, capability, tier, ttl_seconds, plan, summary, revocability } = wire;
  return { id, capability, tier, ttlSeconds: ttl_seconds, plan, summary, revocability };
}

interface WireGrant {
  id: string;
  status: string;
  capability: string;
  tier: number;
  ttl_seconds: number;
  plan: GrantFacts['plan'];
  summary: string[];
  revocability: GrantFacts['revocability'];
  reasons?: DenialReason[];
  decide_by?: string;
  approval_url?: string;
  needs_approval?: { sleep_until?: string };
  lease?: { id: string; expires_at: string };
  credential?: unknown;
  credential_jwe?: unknown;
  decision?: string;
}
