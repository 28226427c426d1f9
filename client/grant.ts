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
import { type Answer, type Call, refusal } from './http.ts';
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

/** One of several grants that are asked for at once. */
export interface GrantRequest {
  capability: string;
  params?: GrantParams | undefined;
  /** As in `GrantOptions`. */
  ttlSeconds?: number;
  justification?: string;
  type?: CredentialType;
}

/** For several at once. */
export interface GrantsOptions extends Pick<GrantOptions, 'waitSeconds' | 'sealed' | 'signal' | 'idempotencyKey'> {
  /** Called once where people must decide, with all that wait. */
  onPending?: (grants: PendingGrant[]) => void;
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
  /** One decision is on all that have the same. */
  batch?: string;
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
    json: { ...requestBody({ capability, params, ...options }), ...credentialJwk },
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
  if (waits) options.onPending?.(pendingOf(asked.body));
  return settle(deps, asked.body, key, options);
}

/** 3. to 5. of a grant that has an answer. */
async function settle<T extends CredentialType>(
  deps: GrantCalls,
  answered: WireGrant,
  key: SealingKey | null,
  options: Pick<GrantOptions<T>, 'type' | 'waitSeconds' | 'signal'>,
): Promise<Grant<CredentialOf<T>>> {
  const decided = answered.status === 'pending' ? await decisionOn(deps, answered.id, options) : answered;
  if (decided.status !== 'approved') throw refusalOf(decided);

  // 4.
  const credentialJwk = key === null ? {} : { credential_jwk: key.publicJwk };
  const collected = await collect(deps, decided.id, credentialJwk, options.signal);

  // 5.
  return openGrant(collected.body, key, options.type);
}

/**
 * 1. to 5. for several at once. Those that people decide on together are collected one after another, so that
 * no more is waited for at once than there are decisions.
 * @returns what became of each, in their order
 * @throws WritError where none of them was answered
 */
export async function requestGrants(
  deps: GrantCalls,
  requests: readonly GrantRequest[],
  options: GrantsOptions,
): Promise<PromiseSettledResult<Grant>[]> {
  const { signal } = options;

  // 1.
  const keys = await Promise.all(requests.map(() => (options.sealed === false ? null : newSealingKey())));

  // 2.
  const { body } = await deps.call({
    method: 'POST',
    path: '/v1/grants/batch',
    headers: { 'idempotency-key': options.idempotencyKey ?? randomUUID() },
    json: {
      requests: requests.map((request, index) => {
        const key = keys[index] ?? null;
        return { ...requestBody(request), ...(key === null ? {} : { credential_jwk: key.publicJwk }) };
      }),
    },
    repeatable: true,
    signal,
  });
  const answers = body?.answers as { status: number; body: WireGrant }[] | undefined;
  if (answers?.length !== requests.length) throw bad('the answers');

  // 3. to 5.
  const pending = answers.filter((answer) => answer.status === 202);
  if (pending.length > 0) options.onPending?.(pending.map((answer) => pendingOf(answer.body)));
  const results: PromiseSettledResult<Grant>[] = [];
  const settleOne = async (index: number) => {
    const { status, body: wire } = answers[index]!;
    const [key = null, request] = [keys[index], requests[index]!];
    const work = async () => {
      if (status >= 400) throw refusal(status, wire);
      if (status === 201) return openGrant(wire, key, request.type);
      return settle(deps, wire, key, { ...options, ...(request.type === undefined ? {} : { type: request.type }) });
    };
    results[index] = (await Promise.allSettled([work()]))[0];
  };
  const together = new Map<string, number[]>();
  for (const [index, { body: wire }] of answers.entries()) {
    const decision = wire.batch ?? String(index);
    together.set(decision, [...(together.get(decision) ?? []), index]);
  }
  await Promise.all(
    [...together.values()].map(async (indexes) => {
      for (const index of indexes) await settleOne(index);
    }),
  );
  return results;
}

const requestBody = ({ capability, params, ttlSeconds, justification }: GrantRequest) => ({
  capability,
  ...(params === undefined ? {} : { params }),
  ...(ttlSeconds === undefined ? {} : { ttl_seconds: ttlSeconds }),
  ...(justification === undefined ? {} : { justification }),
});

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
 * while the broker says that the approval stands, it is collected again, when the broker says. So it is while
 * another call is collecting it (its answer was lost, say): what comes of that decides.
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
      const stands = error.code === 'provider_unavailable' && error.problem?.grant_status === 'approved';
      const inFlight = error.code === 'conflict' && error.problem?.grant_status === 'issuing';
      if (!stands && !inFlight) throw error;
      await clock.sleep((error.retryAfterSeconds ?? 5) * 1000, signal);
    }
  }
}

const pendingOf = (wire: WireGrant): PendingGrant => ({
  ...factsOf(wire),
  approvalUrl: wire.approval_url ?? '',
  decideBy: new Date(wire.decide_by ?? Number.NaN),
  ...(wire.batch === undefined ? {} : { batch: wire.batch }),
});

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
  batch?: string;
  lease?: { id: string; expires_at: string };
  credential?: unknown;
  credential_jwe?: unknown;
  decision?: string;
}
