/**
 * People are asked no oftener than they can think: not twice at once for the same, not again for what one of
 * them has just denied, and by no agent without end.
 */
import canonicalize from 'canonicalize';
import { decisionReason } from '../core/reasons.ts';
import type { Json, JsonObject, Plan, Reason } from '../core/vocabulary.ts';
import { planDigest } from '../decide/plan-digest.ts';
import type { Statement, Store } from '../store/open.ts';

export interface AskLimits {
  /** Requests of one agent that people are asked about in an hour; 0 = no limit. */
  requestsPerHour: number;
  /** For so long an agent is denied what a person denied it; 0 = no time. */
  cooldownSeconds: number;
}

/** What people would be asked. */
export interface AboutToAsk {
  agent: string;
  capability: string;
  /** Where in a plan is what makes it the same as another: its lifetime is not, nor who asks. */
  path: readonly string[];
  /** What is there. */
  same: Json;
}

const recentStatement: Statement = {
  name: 'grants_asked_lately',
  text: `
    SELECT writ_asked($1::text, $4::timestamptz, $8::text[])::int AS asked,
      coalesce(bool_or(g.capability = $2::text AND coalesce(g.decision -> 'asked_plan', g.plan) #> $6::text[] = $7::jsonb AND (
        EXISTS (SELECT 1 FROM review r WHERE r.grant_id = g.id AND r.verdict = 'deny' AND r.at > $5::timestamptz)
        -- Denied with all of its batch, or taken out of it.
        OR (g.batch_id IS NOT NULL AND g.status = 'denied' AND g.decided_at > $5::timestamptz AND g.decision #>> '{reasons,-1,code}' = ${decisionReason('denied_by_approver')}))), false) AS denied
    FROM grants g WHERE g.agent = $1::text AND g.requested_at > $3::timestamptz
      AND (g.decide_by IS NOT NULL OR g.batch_id IS NOT NULL OR EXISTS (SELECT 1 FROM review r WHERE r.grant_id = g.id))`,
};

/** Longest time for which people may be asked: a denial is never later than that after the request. */
const longestWaitMs = 86_400_000;

/**
 * Why people are not asked; null = they are. What is put to them together is one request. The number in an
 * hour is counted once more in the statement that asks them: others may ask at the same time.
 * @param together ids of grants that are put to them together with this one
 */
export async function spared(
  store: Store,
  { requestsPerHour, cooldownSeconds }: AskLimits,
  about: AboutToAsk,
  now: Date,
  together: readonly string[] = [],
): Promise<Reason | null> {
  if (requestsPerHour === 0 && cooldownSeconds === 0) return null;
  const ago = (ms: number) => new Date(now.getTime() - ms);
  const [row] = await store.run<{ asked: number; denied: boolean }>(recentStatement, [
    about.agent,
    about.capability,
    ago(Math.max(3_600_000, cooldownSeconds * 1000 + longestWaitMs)),
    ago(3_600_000),
    ago(cooldownSeconds * 1000),
    [...about.path],
    JSON.stringify(about.same),
    [...together],
  ]);
  if (cooldownSeconds > 0 && row?.denied === true) return { code: 'denied_lately' };
  return requestsPerHour > 0 && (row?.asked ?? 0) >= requestsPerHour ? { code: 'asked_too_often' } : null;
}

/** A grant by what would be in its credential, for whatever time. */
export const aboutGrant = (session: { agent: string }, capability: string, plan: Plan): AboutToAsk => ({
  agent: session.agent,
  capability,
  path: ['permission'],
  same: plan.permission,
});

/** A call by its tool and arguments. @param shown arguments as they are kept */
export const aboutCallTo = (session: { agent: string }, capability: string, shown: JsonObject): AboutToAsk => ({
  agent: session.agent,
  capability,
  path: ['permission', 'arguments'],
  same: shown,
});

const waitingStatement: Statement = {
  name: 'grant_waiting_alike',
  text: `
    SELECT id, credential_jwk, coalesce(decision -> 'asked_plan', plan) AS plan FROM grants
    WHERE session_id = $1::text AND ended_at IS NULL AND status = 'pending' AND decide_by > $3::timestamptz AND capability = $2::text
    ORDER BY requested_at, id LIMIT 20`,
};

/** The request of the same session for the same plan that waits already, its credential for the same key. */
export async function waitingAlike(
  store: Store,
  sessionId: string,
  { capability, plan, credentialJwk }: { capability: string; plan: Plan; credentialJwk: JsonObject | null },
  now: Date,
): Promise<string | null> {
  const rows = await store.run<{ id: string; credential_jwk: JsonObject | null; plan: Plan }>(waitingStatement, [
    sessionId,
    capability,
    now,
  ]);
  // Of what it is about there may be another state by now: that is found when it is collected.
  const digestOf = ({ state: _, ...asked }: Plan) => planDigest(asked);
  const digest = digestOf(plan);
  const key = canonicalize(credentialJwk);
  const alike = rows.find((row) => digestOf(row.plan) === digest && canonicalize(row.credential_jwk) === key);
  return alike?.id ?? null;
}
