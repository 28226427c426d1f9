/**
 * A session sleeps while people decide, for hours or days: what it holds is revoked, it can do nothing, and
 * no heartbeat is missed. What waits for people waits as long. Its wall time stands still; its agent wakes it
 * (`wake.ts`), or it ends. First the session changes, then what it holds is released (`hold-back.ts`): a
 * process that dies in between leaves that to the worker.
 */
import { createHash, randomBytes } from 'node:crypto';
import { postponeReminders } from '../../approvals/notices.ts';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import type { ProvenRows } from '../core/proven-rows.ts';
import type { Clock } from '../core/vocabulary.ts';
import { waitLonger } from '../grants/transitions.ts';
import type { Catalog } from '../manifests/catalog.ts';
import type { Statement, Store } from '../store/open.ts';
import type { SessionFacts } from './authenticate.ts';
import type { EndSessionDeps } from './end-session.ts';
import { holdBack } from './hold-back.ts';
import { mayAct } from './live-session.ts';
import { provenColumns, proveSession, sessionHolds } from './proven-session.ts';

export interface SleepDeps extends EndSessionDeps {
  clock: Clock;
  catalog: Catalog;
  /** How long after its opening a session may still sleep, at most; 0 = none may. */
  maxSleepSeconds: number;
}

/** What a sleeping session's row says of it, under its proof. */
export interface Slept {
  at: string;
  until: string;
  /** Seconds of its wall time that are left when it wakes. */
  left_seconds: number;
}

export type ProvenSessionRow = ProvenRows['session'] & { proof: string };

const readStatement: Statement = {
  name: 'session_proven',
  text: `SELECT ${provenColumns('s')}, s.proof FROM session s WHERE s.id = $1::text`,
};

/** @returns null for no such session, or one that is not as it was opened */
export async function readProven(store: Store, id: string): Promise<ProvenSessionRow | null> {
  const [row] = await store.run<ProvenSessionRow>(readStatement, [id]);
  return row !== undefined && sessionHolds(store, row) ? row : null;
}

// Its proof is that of the row that was read: nothing of it changed meanwhile. A sub-agent does not sleep
// apart from the session above it, and none may go on below one that sleeps.
const sleepStatement: Statement = {
  name: 'session_sleep',
  text: `
    WITH held AS (
      SELECT s.id FROM session s
      WHERE s.id = $1::text AND s.parent_id IS NULL AND s.proof = $3::text AND (${mayAct('s', '$2::timestamptz')} OR (s.status = 'asleep' AND s.expires_at > $2::timestamptz))
        AND NOT EXISTS (SELECT 1 FROM session c WHERE c.parent_id = s.id AND c.ended_at IS NULL)
      FOR UPDATE OF s
    ), slept AS (
      UPDATE session SET status = 'asleep', version = version + 1, expires_at = $4::timestamptz, heartbeat_deadline = $4::timestamptz, slept = $5::jsonb, resume_hash = $6::text, proof = $7::text
      FROM held WHERE session.id = held.id RETURNING session.id, session.agent
    ), waiting AS (
${waitLonger('slept', '$4::timestamptz')} RETURNING grants.id, grants.decide_by
    ), ${postponeReminders('waiting', '$2::timestamptz')}, audited AS (
      ${appendEvent({ chain: 'id', at: '$2::timestamptz', type: event('session.slept'), actor: 'agent', request: '$8::text', payload: "json_build_object('until', $4::timestamptz, 'left_seconds', ($5::jsonb ->> 'left_seconds')::int)" }, 'slept')}
    )
    SELECT id FROM slept`,
};

export interface Asleep {
  until: Date;
  /** What its agent wakes it with: names the session, and is of no use to anybody but the same workload. */
  resume: string;
}

/** Until when the session may sleep; null = its manifest, or this broker, lets none. */
export async function sleepBound(
  { catalog, maxSleepSeconds }: Pick<SleepDeps, 'catalog' | 'maxSleepSeconds'>,
  session: Pick<SessionFacts, 'agent' | 'currentManifestVersion' | 'openedAt' | 'parentId'>,
  now: Date,
): Promise<Date | null> {
  const { manifest } = (await catalog.inForce(session.agent, session.currentManifestVersion)).compiled;
  const seconds = Math.min(manifest.envelope.sleep ?? 0, maxSleepSeconds);
  const bound = new Date(session.openedAt.getTime() + seconds * 1000);
  return session.parentId !== null || bound.getTime() < now.getTime() + leastMs ? null : bound;
}

/** Shorter is no sleep. */
const leastMs = 60_000;

/**
 * Puts a session to sleep, or, asleep, gives it another handle: the one before is good for nothing then.
 * @param seconds how long at most; null = as long as it may
 * @throws WritError `forbidden` (it may not sleep); `conflict` (sub-agents run, or it changed meanwhile)
 */
export async function sleepSession(
  deps: SleepDeps,
  session: SessionFacts,
  seconds: number | null,
  requestId: string | null,
): Promise<Asleep> {
  const { store, clock } = deps;
  const now = clock.now();
  const bound = await sleepBound(deps, session, now);
  if (bound === null)
    throw new WritError('forbidden', {
      detail:
        session.parentId === null
          ? 'The manifest lets no session sleep now (`envelope.sleep`).'
          : 'A sub-agent’s session does not sleep: end it.',
    });
  const row = await readProven(store, session.id);
  if (row === null) throw new WritError('unauthenticated');
  const until = seconds === null ? bound : new Date(Math.min(now.getTime() + seconds * 1000, bound.getTime()));
  const before = row.slept as Slept | null | undefined;
  const left = before?.left_seconds ?? Math.floor((row.expires_at.getTime() - now.getTime()) / 1000);
  const slept: Slept = { at: now.toISOString(), until: until.toISOString(), left_seconds: left };
  const secret = randomBytes(32).toString('base64url');
  const proof = proveSession(store, { ...row, expires_at: until, slept });
  const values = [row.id, now, row.proof, until, JSON.stringify(slept), resumeHash(secret), proof, requestId];
  const done = await store.run(sleepStatement, values);
  if (done.length === 0)
    throw new WritError('conflict', {
      detail: 'Sub-agents of it run, or it has changed just now. End them, and try again.',
    });
  await holdBack(deps, now, [row.id]);
  deps.notify();
  return { until, resume: `${row.id}.${secret}` };
}

export const resumeHash = (secret: string): string => createHash('sha256').update(secret).digest('hex');
