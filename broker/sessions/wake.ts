/**
 * Wakes a session that sleeps. The handle says which; the right to it is the same that opened it, shown anew:
 * the same workload, by a fresh token or assertion of its own, for the same people, under a manifest that
 * still has its task, and no lock. A session that was bound to a key is bound to one again: the same, or that
 * of a new process of this workload.
 */
import canonicalize from 'canonicalize';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { VouchedPerson } from '../core/identifier.ts';
import type { Clock, Json, LockLevel } from '../core/vocabulary.ts';
import { redeemSoon } from '../grants/transitions.ts';
import { lockedOut } from '../locks/standing-locks.ts';
import { attestedClaims } from '../manifests/attested-claims.ts';
import { checkTask } from '../manifests/bind.ts';
import type { Catalog } from '../manifests/catalog.ts';
import { askable } from '../manifests/manifest.ts';
import type { Statement, Store } from '../store/open.ts';
import { readSession } from './authenticate.ts';
import { burnShown, type OneTime, shownColumns, takeShown, usedBefore } from './one-time.ts';
import type { Principal } from './open-session.ts';
import { type OpenedSession, taskAsItHolds } from './opened-session.ts';
import { proveSession } from './proven-session.ts';
import type { SessionTokens } from './session-token.ts';
import { readProven, resumeHash, type Slept } from './sleep.ts';

export interface WakeDeps {
  store: Store;
  clock: Clock;
  catalog: Catalog;
  tokens: SessionTokens;
  heartbeat: { seconds: number; misses: number };
  /** How long an approved grant waits for its agent. */
  redemptionSeconds: number;
}

// What was shown once is burnt last, by what wakes alone: whatever is refused may be tried again with it.
const wakeStatement: Statement = {
  name: 'session_wake',
  text: `
    WITH held AS (
      SELECT s.id, s.agent, ${lockedOut('s.agent', '$6::text')} AS locked FROM session s
      WHERE s.id = $1::text AND s.status = 'asleep' AND s.resume_hash = $2::text AND s.expires_at > $3::timestamptz AND s.proof = $4::text
        AND EXISTS (SELECT 1 FROM agent a WHERE a.name = s.agent AND a.version = $5::int)
      FOR UPDATE OF s
    ), burnt AS (
${burnShown(`SELECT key, until, bound FROM unnest($11::text[], $12::timestamptz[], $13::text[]) AS once (key, until, bound)
      WHERE EXISTS (SELECT 1 FROM held WHERE locked IS NULL) ORDER BY key`)}
    ), woken AS (
      UPDATE session SET status = 'active', version = version + 1, expires_at = $7::timestamptz, heartbeat_deadline = $8::timestamptz, dpop_jkt = $9::text, slept = NULL, proof = $10::text
      FROM held WHERE session.id = held.id AND held.locked IS NULL AND (SELECT count(*) FROM burnt) = cardinality($11::text[])
      RETURNING session.id, session.agent
    ), soon AS (
${redeemSoon('woken', '$14::timestamptz', '$7::timestamptz')}
    ), audited AS (
      ${appendEvent({ chain: 'id', at: '$3::timestamptz', type: event('session.woken'), actor: 'agent', request: '$15::text', payload: "json_build_object('expires_at', $7::timestamptz, 'new_key', $16::boolean)" }, 'woken')}
    )
    SELECT held.locked, woken.id IS NOT NULL AS woken, ARRAY(SELECT unnest($11::text[]) EXCEPT SELECT key FROM burnt) AS stale FROM held LEFT JOIN woken USING (id)`,
};

const refuse = (detail: string) => new WritError('invalid_grant', { detail });

/**
 * @param handle as `sleepSession` gave it
 * @param jkt thumbprint of the key that the request was proven with @param once what must not be shown twice
 * @throws WritError `invalid_grant`, `invalid_dpop_proof`, `locked`, `conflict`
 */
export async function wakeSession(
  deps: WakeDeps,
  {
    principal,
    handle,
    jkt,
    once,
    requestId,
  }: { principal: Principal; handle: string; jkt: string | null; once: OneTime[]; requestId: string | null },
): Promise<OpenedSession> {
  const { store, clock, catalog } = deps;
  const now = clock.now();
  const [id = '', secret = ''] = handle.split('.');
  const row = /^ses_[0-9a-z]{20}$/.test(id) ? await readProven(store, id) : null;
  // Whoever is not the same workload learns nothing of the session, not even that there is one.
  if (row === null || !isSameWorkload(row, principal)) throw refuse('There is no such session of yours to resume.');
  if (row.dpop_jkt !== null && jkt === null)
    throw new WritError('invalid_dpop_proof', { detail: 'The session is bound to a key: send a DPoP proof.' });
  const slept = row.slept as Slept | null | undefined;
  if (slept == null) return again(deps, id, secret, jkt, once);

  const current = await catalog.current(row.agent);
  if (current === null) throw refuse('The agent has no manifest here.');
  const { manifest } = current.compiled;
  const task = checkTask(manifest, row.task_type, row.inputs as { [name: string]: string | number | boolean });
  if (!task.ok) throw refuse('Its task does not fit the manifest in force.');
  // Policies look at what the platform said when it opened: a run of which it says something else is another.
  const attested = principal.claims === undefined ? null : attestedClaims(manifest, principal.claims);
  if (!isSame((row.subject as { attested?: object }).attested ?? null, attested))
    throw refuse('The platform says something else of this run than of the one that sleeps.');
  const expiresAt = new Date(now.getTime() + slept.left_seconds * 1000);
  const deadline = new Date(now.getTime() + deps.heartbeat.seconds * deps.heartbeat.misses * 1000);
  const newKey = row.dpop_jkt !== jkt;
  const [done] = await store.run<{ locked: LockLevel | null; woken: boolean; stale: string[] }>(wakeStatement, [
    id,
    resumeHash(secret),
    now,
    row.proof,
    current.version,
    manifest.owner,
    expiresAt,
    deadline < expiresAt ? deadline : expiresAt,
    jkt,
    proveSession(store, { ...row, dpop_jkt: jkt, expires_at: expiresAt, slept: null }),
    ...shownColumns(once),
    new Date(now.getTime() + deps.redemptionSeconds * 1000),
    requestId,
    newKey,
  ]);
  if (done === undefined) throw refuse('It sleeps no more, or was put to sleep again: the handle is of no use.');
  if (done.locked !== null) throw new WritError('locked', { extensions: { level: done.locked } });
  if (!done.woken) throw usedBefore(once, done.stale);
  return {
    ...{ id, agent: row.agent, expiresAt },
    token: await deps.tokens.mint({ id, agent: row.agent, taskType: row.task_type, jkt, act: null, expiresAt }),
    task: taskAsItHolds(
      task.task,
      { from: now, expiresAt, maxGrants: row.max_grants },
      { vouched: row.on_behalf_of as VouchedPerson | null, declared: row.declared_on_behalf_of },
    ),
    scope: askable(manifest, row.task_type, row.narrowed ? row.capabilities : null),
  };
}

/** Its answer was lost: whoever woke it, with the same key, is answered again. */
async function again(
  deps: WakeDeps,
  id: string,
  secret: string,
  jkt: string | null,
  once: OneTime[],
): Promise<OpenedSession> {
  const none = refuse('It sleeps no more: the handle is of no use.');
  const [known] = await deps.store.run<{ resume_hash: string | null; agent: string }>(handleStatement, [id]);
  if (known === undefined || known.resume_hash !== resumeHash(secret) || jkt === null) throw none;
  const caller = { sessionId: id, agent: known.agent, jkt, replay: null };
  const now = deps.clock.now();
  const session = await readSession(deps.store, caller, now);
  if (session.jkt !== jkt) throw none;
  await takeShown(deps.store, once);
  const { manifest } = (await deps.catalog.inForce(session.agent, session.currentManifestVersion)).compiled;
  const { agent, expiresAt } = session;
  return {
    ...{ id, agent, expiresAt },
    token: await deps.tokens.mint({ id, agent, taskType: session.task.task_type, jkt, act: null, expiresAt }),
    task: taskAsItHolds(
      session.task,
      { from: now, expiresAt, maxGrants: session.maxGrants },
      { vouched: session.onBehalfOf, declared: session.declaredOnBehalfOf },
    ),
    scope: askable(manifest, session.task.task_type, session.narrowed ? session.capabilities : null),
  };
}

const handleStatement: Statement = {
  name: 'session_resume_handle',
  text: 'SELECT resume_hash, agent FROM session WHERE id = $1::text AND ended_at IS NULL',
};

const isSame = (one: object | null, other: object | null) => canonicalize(one as Json) === canonicalize(other as Json);

/** The same agent and workload, vouched for as running for the same people. */
function isSameWorkload(
  row: {
    agent: string;
    parent_id: string | null;
    subject: object;
    started_by: object | null;
    on_behalf_of: object | null;
    responsible: string | null;
  },
  principal: Principal,
): boolean {
  const { issuer, subject } = row.subject as { issuer?: unknown; subject?: unknown };
  return (
    row.parent_id === null &&
    row.agent === principal.agent &&
    issuer === principal.subject.issuer &&
    subject === principal.subject.subject &&
    row.responsible === principal.responsible &&
    isSame(row.started_by, principal.startedBy) &&
    isSame(row.on_behalf_of, principal.onBehalfOf)
  );
}

/** The one grant of a session that was opened for it (`http/ciba.ts`). */
export interface SleepingGrant {
  id: string;
  capability: string;
  status: string;
  /** Of one that was denied. */
  reason: string | null;
  sessionId: string;
  sessionEnded: boolean;
}

const grantStatement: Statement = {
  name: 'session_sleeping_grant',
  text: `
    SELECT g.id, g.capability, g.status, g.decision #>> '{reasons,0,code}' AS reason, s.id AS "sessionId", s.ended_at IS NOT NULL AS "sessionEnded"
    FROM session s JOIN grants g ON g.session_id = s.id
    WHERE s.id = $1::text AND s.resume_hash = $2::text ORDER BY g.requested_at, g.id LIMIT 1`,
};

/** @returns null where the handle is none of this workload's */
export async function sleepingGrant(store: Store, principal: Principal, handle: string): Promise<SleepingGrant | null> {
  const [id = '', secret = ''] = handle.split('.');
  const row = /^ses_[0-9a-z]{20}$/.test(id) ? await readProven(store, id) : null;
  if (row === null || !isSameWorkload(row, principal)) return null;
  const [grant] = await store.run<SleepingGrant>(grantStatement, [id, resumeHash(secret)]);
  return grant ?? null;
}
