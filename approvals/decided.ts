/**
 * What was decided in somebody's name: of each owner or group that requests were put to, how they ended, and
 * who answered. For the page and for the daily digest alike. Reads only.
 */
import { decidedAsSql } from '../broker/core/questions.ts';
import type { Statement, Store } from '../broker/store/open.ts';

/** From the first moment to just before the last. */
export interface Period {
  from: Date;
  until: Date;
}

/**
 * `ahead`: approved ahead of time. `automatic`: given by policy, nobody was asked. `lapsed`: approved or not,
 * what it stood on ended.
 */
export type DecidedResult = 'approved' | 'ahead' | 'denied' | 'expired' | 'lapsed' | 'automatic';

/** So many requests of one capability ended so. */
export interface DecidedCount {
  agent: string;
  capability: string;
  result: DecidedResult;
  count: number;
}

/** What one person answered. */
export interface DecidedBy {
  /** `user:…`, as the record names them. */
  name: string;
  approved: number;
  denied: number;
  /** Approvals that were given faster than a person can read. */
  hasty: number;
}

export interface Decided {
  /** `team:…`, `user:…`, `oncall:…` in whose name. */
  owner: string;
  counts: DecidedCount[];
  people: DecidedBy[];
}

// A request is asked at most a week before it is decided, while its session sleeps. Whose it is says the
// request (whom it was put to), or else the manifest it was asked under.
const settled = `
    SELECT g.id, g.session_id, g.agent, g.capability, g.status, g.decided_at, s.task_type, asked.people, names.name AS owner,
      CASE WHEN NOT asked.people THEN 'automatic'
           WHEN g.status <> 'denied' AND g.decision #>> '{reasons,-1,code}' = 'pre_approved' THEN 'ahead'
           WHEN g.status <> 'denied' THEN 'approved'
           WHEN EXISTS (SELECT 1 FROM review r WHERE r.grant_id = g.id AND r.verdict = 'deny') THEN 'denied'
           WHEN g.decision #>> '{reasons,-1,code}' = 'timeout' THEN 'expired'
           ELSE 'lapsed' END AS result
    FROM agent a JOIN grants g ON g.agent = a.name JOIN session s ON s.id = g.session_id
    LEFT JOIN manifest m ON m.agent = g.agent AND m.version = g.manifest_version
    CROSS JOIN LATERAL (SELECT g.decide_by IS NOT NULL OR EXISTS (SELECT 1 FROM review r WHERE r.grant_id = g.id) AS people) asked
    CROSS JOIN LATERAL (
      SELECT t.name FROM jsonb_array_elements(g.decision -> 'approval') term, jsonb_array_elements_text(term -> 'from') AS t (name)
      WHERE asked.people
      UNION
      SELECT o.name FROM unnest(ARRAY[m.compiled #>> '{manifest,owner}', m.compiled #>> ARRAY['manifest', 'capabilities', ${decidedAsSql('g.capability')}, 'owner']]) AS o (name)
      WHERE o.name IS NOT NULL AND (NOT asked.people OR NOT coalesce(jsonb_typeof(g.decision -> 'approval') = 'array', false))) names
    WHERE g.requested_at >= $1::timestamptz - interval '9 days' AND g.decided_at >= $1::timestamptz AND g.decided_at < $2::timestamptz
      -- What people decided on at once is one request.
      AND g.batch_id IS NULL AND (asked.people OR g.status <> 'denied')`;

const countsStatement: Statement = {
  name: 'decided_counts',
  text: `
    SELECT owner, agent, capability, result, count(*)::int AS count FROM (${settled}) d
    GROUP BY owner, agent, capability, result ORDER BY owner, count DESC, agent, capability, result LIMIT 10000`,
};

const peopleStatement: Statement = {
  name: 'decided_people',
  text: `
    SELECT d.owner, 'user:' || coalesce(CASE WHEN r.reviewer ->> 'emailVerified' = 'true' THEN r.reviewer ->> 'email' END, r.reviewer ->> 'subject') AS name,
      (count(*) FILTER (WHERE r.verdict = 'approve'))::int AS approved, (count(*) FILTER (WHERE r.verdict = 'deny'))::int AS denied,
      (count(*) FILTER (WHERE EXISTS (
        SELECT 1 FROM audit_event e WHERE e.chain = d.session_id AND e.grant_id = d.id AND e.payload ->> 'review_id' = r.id
          AND e.payload ->> 'hasty_seconds' IS NOT NULL)))::int AS hasty
    FROM (${settled}) d JOIN review r ON r.grant_id = d.id
    GROUP BY 1, 2 ORDER BY 1, 3 DESC, 4 DESC, 2 LIMIT 10000`,
};

/** Of everybody in whose name something was decided in the period, by name. */
export async function loadDecided(store: Store, { from, until }: Period): Promise<Decided[]> {
  const [counts, people] = await Promise.all([
    store.run<DecidedCount & { owner: string }>(countsStatement, [from, until]),
    store.run<DecidedBy & { owner: string }>(peopleStatement, [from, until]),
  ]);
  const answers = Map.groupBy(people, ({ owner }) => owner);
  return [...Map.groupBy(counts, ({ owner }) => owner)].map(([owner, of]) => ({
    owner,
    counts: of.map(({ agent, capability, result, count }) => ({ agent, capability, result, count })),
    people: (answers.get(owner) ?? []).map(({ name, approved, denied, hasty }) => ({ name, approved, denied, hasty })),
  }));
}

/** A request that people were asked about. */
export interface DecidedRequest {
  id: string;
  agent: string;
  capability: string;
  task_type: string;
  result: DecidedResult;
  decided_at: Date;
  /** Who answered, `user:…`, oldest first. */
  by: string[];
}

const requestsStatement: Statement = {
  name: 'decided_requests',
  text: `
    SELECT DISTINCT d.id, d.agent, d.capability, d.task_type, d.result, d.decided_at,
      ARRAY(SELECT 'user:' || coalesce(CASE WHEN r.reviewer ->> 'emailVerified' = 'true' THEN r.reviewer ->> 'email' END, r.reviewer ->> 'subject')
            FROM review r WHERE r.grant_id = d.id ORDER BY r.at, r.id) AS by
    FROM (${settled}) d WHERE d.people AND d.owner = ANY($3::text[]) ORDER BY d.decided_at DESC, d.id DESC LIMIT 100`,
};

/** The latest hundred of the period that were put to any of `owners`, newest first. */
export async function loadDecidedRequests(
  store: Store,
  { from, until }: Period,
  owners: readonly string[],
): Promise<DecidedRequest[]> {
  return store.run<DecidedRequest>(requestsStatement, [from, until, [...owners]]);
}

/** How many ended in each way. */
export function totals(counts: readonly DecidedCount[]): { [result in DecidedResult]: number } {
  const sum = { approved: 0, ahead: 0, denied: 0, expired: 0, lapsed: 0, automatic: 0 };
  for (const { result, count } of counts) sum[result] += count;
  return sum;
}
