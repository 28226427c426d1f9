/**
 * A manifest that was replaced by a narrower one: what the agent holds is decided again, and what the version
 * in force does not allow is ended. Whoever publishes looks at once; a worker looks again until nothing that
 * was decided on the older version can still be on its way into the database.
 */

import canonicalize from 'canonicalize';
import type { Logger } from 'pino';
import { settleNotices } from '../../approvals/notices.ts';
import type { Provider } from '../../providers/contract.ts';
import { appendEvent } from '../audit/append.ts';
import { event } from '../audit/events.ts';
import { decisionReason } from '../core/reasons.ts';
import type { Clock, JsonObject, Plan, Reason } from '../core/vocabulary.ts';
import { revokeDisallowed } from '../leases/revoke-disallowed.ts';
import { bindParams } from '../manifests/bind.ts';
import type { Catalog } from '../manifests/catalog.ts';
import { member } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { markRechecked, type StaleAgent, staleAgents } from '../manifests/rechecked.ts';
import { readSession, type SessionFacts } from '../sessions/authenticate.ts';
import type { Statement, Store } from '../store/open.ts';
import { evaluatePlan } from './evaluate.ts';
import { lapseGrant } from './transitions.ts';

export interface RecheckDeps {
  store: Store;
  clock: Clock;
  catalog: Catalog;
  providers: ReadonlyMap<string, Provider>;
  mintDeadlineSeconds: number;
  log: Logger;
  /** Notifies whoever revokes. */
  notify(): void;
}

/** Longer than any statement takes that was begun before the publication (store/open.ts gives it a limit). */
const lastLookMs = 60_000;

const heldStatement: Statement = {
  name: 'grants_held',
  text: `
    SELECT g.id, g.session_id, g.capability, g.params, l.plan, l.id AS lease_id, g.status,
           EXISTS (SELECT 1 FROM review v WHERE v.grant_id IN (g.id, g.batch_id) AND v.verdict = 'approve') AS approved,
           EXISTS (SELECT 1 FROM break_glass_use u WHERE u.grant_id = g.id) AS broken
    FROM lease l JOIN grants g ON g.id = l.grant_id
    WHERE l.due_at IS NOT NULL AND l.agent = $1::text AND l.status IN ('issuing', 'active') AND g.manifest_version < $2::int
    UNION ALL
    SELECT g.id, g.session_id, g.capability, g.params, g.plan, NULL, g.status, g.status = 'approved', false
    FROM grants g
    WHERE g.decide_by IS NOT NULL AND g.ended_at IS NULL AND g.agent = $1::text AND g.status IN ('pending', 'approved') AND g.manifest_version < $2::int
      -- Questions are decided anew when they are answered: approvals/review.ts, actions/.
      AND g.capability NOT LIKE '%:%'`,
};

interface Held {
  id: string;
  session_id: string;
  capability: string;
  params: JsonObject;
  plan: Plan;
  /** Null for a grant that has none yet. */
  lease_id: string | null;
  status: string;
  approved: boolean;
  /** It was given by a break-glass. */
  broken: boolean;
}

const lapseStatement: Statement = {
  name: 'grants_disallow',
  text: `
    WITH due AS (
      SELECT grants.id, ${decisionReason('manifest_narrowed')} AS reason, asked.why
      FROM unnest($1::text[], $3::text[]) AS asked (id, why) JOIN grants ON grants.id = asked.id
      WHERE status IN ('pending', 'approved') ORDER BY grants.id FOR UPDATE OF grants
    ), changed AS (
${lapseGrant('due', '$2::timestamptz', 'due.why::jsonb')}
      RETURNING g.id, g.session_id, g.capability, g.plan_digest, due.reason
    ), ${settleNotices('changed', '$2::timestamptz')}, event AS (
      ${appendEvent({ chain: 'session_id', at: '$2::timestamptz', type: event('grant.denied'), actor: "'system'", grant: 'id', payload: "json_build_object('capability', capability, 'reason', reason, 'plan_digest', plan_digest)" }, 'changed ORDER BY session_id, id')}
    )
    SELECT id FROM changed`,
};

/**
 * What was judged on the version in force, by process: a worker looks every second for a minute, and judges
 * only what is new.
 */
const judged = new WeakMap<Store, Map<string, Set<string>>>();

/** @param agent this one only; null = every agent whose manifest was replaced */
export async function recheckHeld(deps: RecheckDeps, agent: string | null): Promise<void> {
  for (const stale of await staleAgents(deps.store, agent)) {
    const now = deps.clock.now();
    await recheckAgent(deps, stale, now);
    if (now.getTime() < stale.publishedAt.getTime() + lastLookMs) continue;
    await markRechecked(deps.store, stale);
    judged.get(deps.store)?.delete(nameOf(stale));
  }
}

/** What is in force now counts at once, whatever comes of this: a worker looks again. */
export async function recheckPublished(deps: RecheckDeps, agent: string): Promise<void> {
  await recheckHeld(deps, agent).catch((error) =>
    deps.log.error({ err: error, agent }, 'what the agent holds could not be rechecked yet'),
  );
}

async function recheckAgent(deps: RecheckDeps, stale: StaleAgent, now: Date): Promise<void> {
  const seen = seenOf(deps.store, stale);
  const held = await deps.store.run<Held>(heldStatement, [stale.agent, stale.version]);
  const fresh = held.filter((one) => !seen.has(one.lease_id ?? one.id));
  if (fresh.length === 0) return;
  const manifest = await deps.catalog.version(stale.agent, stale.version);
  const leases: string[] = [];
  const grants: string[] = [];
  /** What policy says against each of `grants`. */
  const why: string[] = [];
  for (const [sessionId, ofSession] of Map.groupBy(fresh, (one) => one.session_id)) {
    const caller = { sessionId, agent: stale.agent, jkt: null, replay: null };
    const session = await readSession(deps.store, caller, now, { allowEnded: true });
    for (const one of ofSession) {
      const reasons = against(deps, manifest, session, one, now);
      if (reasons === null) continue;
      if (one.lease_id !== null) leases.push(one.lease_id);
      else {
        grants.push(one.id);
        why.push(JSON.stringify(reasons));
      }
    }
  }
  const revoking = await revokeDisallowed(deps, leases, now);
  if (grants.length > 0) await deps.store.run(lapseStatement, [grants, now, why]);
  // Remembered only when what came of it is in the database.
  for (const one of fresh) seen.add(one.lease_id ?? one.id);
  if (leases.length + grants.length === 0) return;
  const { agent, version } = stale;
  deps.log.warn(
    { agent, version, leases: revoking, grants: grants.length },
    'a narrower manifest ends what it no longer allows',
  );
  if (revoking > 0) deps.notify();
}

/**
 * Null when the version in force would give this very permission; otherwise what policy says against it.
 * Counts of the past are left out: a smaller number of grants is about asking, and says nothing of which to
 * end. Whatever cannot be judged is not allowed.
 */
function against(
  deps: RecheckDeps,
  manifest: PublishedManifest,
  session: SessionFacts,
  held: Held,
  now: Date,
): Reason[] | null {
  try {
    const capability = member(manifest.compiled.manifest.capabilities, held.capability);
    const provider = deps.providers.get(held.plan.provider);
    if (capability === undefined || provider === undefined || capability.provider !== held.plan.provider) return [];
    if (held.broken && capability.break_glass !== true) return [];
    const bound = bindParams(capability, session.task, held.params);
    const same = bound.ok && canonicalize(bound.params) === canonicalize(held.params);
    const { grants_left: _unbounded, ...facts } = session.facts;
    const own = held.approved ? 1 : 0;
    // What is locked ends as such (locks/carry-out.ts).
    const alone = { ...session, locks: [], facts: { ...facts, grants: own, capability_grants: own } };
    const consent = held.broken ? 'break_glass' : held.approved;
    const { effect, reasons } = evaluatePlan(provider, manifest, alone, held, now, consent).decision;
    if (same && (effect === 'allow' || (effect === 'approve' && held.status === 'pending'))) return null;
    return effect === 'deny' ? reasons : [];
  } catch (error) {
    deps.log.error({ err: error, grant: held.id }, 'what the manifest in force allows cannot be judged: it is ended');
    return [];
  }
}

const nameOf = ({ agent, version }: StaleAgent) => `${agent}@${version}`;

function seenOf(store: Store, stale: StaleAgent): Set<string> {
  let ofStore = judged.get(store);
  if (ofStore === undefined) {
    ofStore = new Map();
    judged.set(store, ofStore);
  }
  let seen = ofStore.get(nameOf(stale));
  if (seen === undefined) {
    seen = new Set();
    ofStore.set(nameOf(stale), seen);
  }
  return seen;
}
