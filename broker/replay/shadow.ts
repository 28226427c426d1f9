/**
 * Shadow mode: a candidate decides beside the manifest in force, after the answer is on record. What it would
 * have said otherwise is counted and listed; nothing it does has an effect, and nothing waits for it.
 *
 * History is what really happened, as the manifest in force decided it. Trackers that both have are shared:
 * the candidate looks at the cells of history that the decision looked at. What only the candidate remembers
 * begins with its publication, and stands in cells of its own, which no decision reads.
 */
import { Counter, type Registry } from 'prom-client';
import type { Provider } from '../../providers/contract.ts';
import { type Cell, type CellRef, type CellWrite, cellKey, type Digest, labelWrite, unique } from '../actions/cells.ts';
import { callFacts, cellsFor, evaluateCall, grantFacts, hitsOnGrant, movesOfGrant } from '../actions/evaluate-call.ts';
import type { CallSeen, DecisionObserver, GrantSeen, IssueSeen, OutcomeSeen } from '../actions/observer.ts';
import { type Awaited, awaitedOutcome, countedAs, finishCall, reportedCells } from '../actions/outcome.ts';
import { storedScope } from '../actions/rebuild.ts';
import { rulesFor } from '../actions/rules.ts';
import { WritError } from '../core/errors.ts';
import type { Clock, JsonObject, Reason } from '../core/vocabulary.ts';
import { evaluate } from '../grants/evaluate.ts';
import { bindParams } from '../manifests/bind.ts';
import { type CallFacts, compiledCalls, type Tracker } from '../manifests/compile-calls.ts';
import { type Manifest, member } from '../manifests/manifest.ts';
import { memoize } from '../manifests/memoize.ts';
import type { EventKind } from '../manifests/tool-schema.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import type { Statement, Store } from '../store/open.ts';
import { brokenGlassOf } from './broken-glass.ts';
import type { Candidate, Candidates } from './candidates.ts';

export interface ShadowDeps {
  store: Store;
  clock: Clock;
  digest: Digest;
  providers: ReadonlyMap<string, Provider>;
  candidates: Candidates;
  log: { warn(about: object, message: string): void };
  registry: Registry;
}

/** Decisions that wait to be looked at, in one process; of more, the rest is dropped and counted. */
const maxWaiting = 1_000;
/** Differences that are kept for an agent. */
export const maxDifferences = 1_000;
/** How often what another process has moved meanwhile is looked at anew. */
const maxTries = 3;

const readStatement: Statement = {
  name: 'shadow_cells',
  text: `
    WITH r AS MATERIALIZED (SELECT * FROM json_to_recordset($2::json) AS r (kind text, scope text, cell text, own boolean))
    SELECT r.kind, r.cell, c.state, c.version FROM r JOIN shadow_cell c ON r.own AND c.agent = $1::text AND c.scope = r.scope AND c.cell = r.cell
    UNION ALL
    SELECT r.kind, r.cell, m.state, m.version FROM r JOIN monitor_cell m ON NOT r.own AND m.scope = r.scope AND m.cell = r.cell`,
};

const writeStatement: Statement = {
  name: 'shadow_write',
  text: `
    WITH candidate AS MATERIALIZED (
      SELECT agent, number FROM manifest_candidate WHERE agent = $1::text AND number = $2::int AND withdrawn_at IS NULL FOR SHARE
    ), cells AS (
      INSERT INTO shadow_cell (agent, scope, cell, candidate, state, version)
      SELECT candidate.agent, c.scope, c.cell, candidate.number, c.state, c.version + 1
      FROM candidate, json_to_recordset($3::json) AS c (scope text, cell text, state jsonb, version int) ORDER BY c.scope COLLATE "C", c.cell COLLATE "C"
      ON CONFLICT (agent, scope, cell) DO UPDATE SET candidate = EXCLUDED.candidate, state = EXCLUDED.state, version = EXCLUDED.version
      WHERE shadow_cell.version = EXCLUDED.version - 1
      RETURNING 1
    ), difference AS (
      INSERT INTO shadow_difference (agent, id, candidate, kind, session_id, at, name, was, now, because)
      SELECT candidate.agent, d.id, candidate.number, d.kind, d.session_id, d.at, d.name, d.was, d.now, d.because
      FROM candidate, json_to_recordset($4::json) AS d (id text, kind text, session_id text, at timestamptz, name text, was jsonb, now jsonb, because text[])
      ON CONFLICT (agent, id) DO NOTHING RETURNING at
    ), cut AS (
      DELETE FROM shadow_difference WHERE EXISTS (SELECT 1 FROM difference) AND agent = $1::text AND at < (
        SELECT at FROM shadow_difference WHERE agent = $1::text ORDER BY at DESC OFFSET ${maxDifferences - 1} LIMIT 1)
    )
    SELECT (SELECT count(*)::int FROM cells) AS moved FROM candidate`,
};

interface Difference {
  id: string;
  kind: 'call' | 'grant';
  session_id: string;
  at: Date;
  name: string;
  was: { effect: string; reasons: readonly Reason[] };
  now: { effect: string; reasons: readonly Reason[] };
  because: string[];
}

/** What the candidate makes of something that was decided. */
interface Looked {
  difference: Difference | null;
  /** What only it remembers, moved on. */
  writes: CellWrite[];
  outcome: 'same' | 'stricter' | 'looser' | 'other';
}

export interface Shadow extends DecisionObserver {
  /** Resolves when all that was told of so far has been looked at. */
  settled(): Promise<void>;
}

export function createShadow(deps: ShadowDeps): Shadow {
  const decisions = new Counter({
    name: 'writ_shadow_decisions_total',
    help: 'Decisions of candidate manifests, against those of the manifest in force.',
    labelNames: ['agent', 'kind', 'outcome'],
    registers: [deps.registry],
  });
  // One after another in a session's tree, as they were decided.
  const waiting = new Map<string, Promise<void>>();
  let count = 0;

  function later(
    session: SessionFacts,
    kind: 'call' | 'grant' | 'outcome',
    look: (candidate: Candidate) => Promise<string>,
  ): void {
    const { agent, rootId } = session;
    const stale = deps.candidates.isStale();
    if (!stale && deps.candidates.of(agent) === undefined) return;
    if (count >= maxWaiting) {
      decisions.inc({ agent, kind, outcome: 'dropped' });
      return;
    }
    count += 1;
    const before = waiting.get(rootId) ?? Promise.resolve();
    const done = before.then(async () => {
      try {
        if (stale && deps.candidates.isStale()) await deps.candidates.refresh();
        const candidate = deps.candidates.of(agent);
        if (candidate !== undefined) decisions.inc({ agent, kind, outcome: await look(candidate) });
      } catch (error) {
        decisions.inc({ agent, kind, outcome: 'failed' });
        deps.log.warn({ err: error, agent }, 'a candidate manifest could not decide beside');
      } finally {
        count -= 1;
        if (waiting.get(rootId) === done) waiting.delete(rootId);
      }
    });
    waiting.set(rootId, done);
  }

  return {
    called: (seen) =>
      later(seen.session, 'call', (candidate) =>
        untilWritten(deps, candidate, seen.session, () => lookAtCall(deps, candidate, seen)),
      ),
    granted: (seen) =>
      later(seen.session, 'grant', (candidate) =>
        untilWritten(deps, candidate, seen.session, () => lookAtGrant(deps, candidate, seen)),
      ),
    issued: (seen) =>
      later(seen.session, 'outcome', (candidate) =>
        untilWritten(deps, candidate, seen.session, () => lookAtIssue(deps, candidate, seen)),
      ),
    finished: (seen) =>
      later(seen.session, 'outcome', (candidate) =>
        untilWritten(deps, candidate, seen.session, () => lookAtOutcome(deps, candidate, seen)),
      ),
    settled: async () => {
      while (waiting.size > 0) await Promise.all(waiting.values());
    },
  };
}

/** Looks, and writes what came of it; looks again where another process has moved it meanwhile. */
async function untilWritten(
  { store }: ShadowDeps,
  { number, published }: Candidate,
  session: SessionFacts,
  look: () => Promise<Looked>,
): Promise<string> {
  for (let tries = 1; ; tries += 1) {
    const { difference, writes, outcome } = await look();
    if (difference === null && writes.length === 0) return outcome;
    const cells = writes.map(({ scope, cell, state, version }) => ({
      scope: scopeText(scope, session, published.compiled.manifest),
      cell,
      state,
      version,
    }));
    const differences = difference === null ? [] : [difference];
    const values = [published.agent, number, JSON.stringify(cells), JSON.stringify(differences)];
    const [row] = await store.run<{ moved: number }>(writeStatement, values);
    // Withdrawn, or replaced: there is nothing to remember any more.
    if (row === undefined || row.moved === cells.length || tries >= maxTries) return outcome;
  }
}

/** `action:…` holds what an outcome will move, as an action’s own row does for the manifest in force. */
const scopeText = (scope: string, session: SessionFacts, manifest: Manifest): string =>
  scope.startsWith('action:') ? scope : storedScope(scope as Tracker['scope'], session, manifest);

async function lookAtCall(deps: ShadowDeps, candidate: Candidate, seen: CallSeen): Promise<Looked> {
  const { digest } = deps;
  const { published } = candidate;
  const { manifest } = published.compiled;
  const { session, call, at, effect } = seen;
  const facts = callFacts(manifest, session.task, call);
  const own = ownCells(manifest, seen.published.compiled.manifest);
  const cells = await readCells(deps, candidate, session, cellsFor(manifest, session.task, facts, digest), own, {
    looked: seen.looked,
    inForce: seen.published.compiled.manifest,
  });
  const { decision } = evaluateCall(published, session, call, facts, cells, at, digest, seen.consent);
  const allowed = effect === 'allow';
  const came: EventKind[] = allowed ? ['call'] : effect === 'approve' ? [] : ['denied'];
  const kinds: EventKind[] = seen.consent === null ? ['attempt', ...came] : came;
  const moved = movesOfGrant(manifest, session, facts, kinds, cells, at, digest);
  const writes = moved.filter((write) => write.is !== undefined && own(write));
  if (allowed && own(labels)) writes.push(...labelWrite(cells, facts.labels, { now: at.getTime() }));
  const awaited = allowed ? awaitedOutcome(manifest, facts, digest, countedAs(seen.consent !== null)).filter(own) : [];
  const waits: Waits = {
    ...{ tool: call.tool, costMicroUsd: facts.costMicroUsd, askedAt: at.toISOString(), awaited },
    labels: own(labels),
  };
  if (allowed && (awaited.length > 0 || own(labels)))
    writes.push({
      scope: `action:${seen.id}` as Tracker['scope'],
      cell: 'awaited',
      state: waits as unknown as Cell['state'],
      version: 0,
    });
  const because = unknownTo(candidate, seen.published.compiled.manifest, session, facts, at);
  return compared({ ...seen, kind: 'call', name: call.tool }, decision, because, writes);
}

async function lookAtGrant(deps: ShadowDeps, candidate: Candidate, seen: GrantSeen): Promise<Looked> {
  const { digest, providers } = deps;
  const { published } = candidate;
  const { manifest } = published.compiled;
  const { session, at, capability, params, ttlSeconds, effect } = seen;
  const known = member(manifest.capabilities, capability);
  const bound = known === undefined ? null : bindParams(known, session.task, params);
  const facts = grantFacts(manifest, capability, bound?.ok === true ? bound.params : {}, seen.address);
  const own = ownCells(manifest, seen.published.compiled.manifest);
  const cells = await readCells(deps, candidate, session, cellsFor(manifest, session.task, facts, digest), own, {
    looked: seen.looked,
    inForce: seen.published.compiled.manifest,
  });
  const hits = hitsOnGrant(manifest, session, facts, cells, at, digest);
  const decided = decideGrant();
  const kinds =
    effect === 'allow'
      ? (['attempt', 'call'] as const)
      : effect === 'approve'
        ? (['attempt'] as const)
        : (['attempt', 'denied'] as const);
  const moved = movesOfGrant(manifest, session, facts, kinds, cells, at, digest);
  const writes = moved.filter((write) => write.is !== undefined && own(write));
  const because = unknownTo(candidate, seen.published.compiled.manifest, session, facts, at);
  return compared({ ...seen, kind: 'grant', name: capability }, decided, because, writes);

  function decideGrant(): { effect: string; reasons: Reason[]; otherPlan?: string } {
    try {
      const {
        decision,
        digest: planDigest,
        description,
      } = evaluate(providers, published, session, { capability, params, ttlSeconds }, at, hits);
      const other = planDigest === seen.planDigest ? {} : { otherPlan: description.summary.join('; ') };
      return {
        effect: decision.session_effect ?? decision.effect,
        reasons: decision.reasons,
        ...other,
      };
    } catch (error) {
      // A request that cannot be evaluated is refused before any decision.
      if (!(error instanceof WritError)) throw error;
      const faults = (error.errors ?? []).map(
        ({ path, message }): Reason => ({ code: 'facts_not_valid', path, advice: message }),
      );
      return { effect: 'deny', reasons: faults };
    }
  }
}

async function lookAtIssue(deps: ShadowDeps, candidate: Candidate, seen: IssueSeen): Promise<Looked> {
  const { manifest } = candidate.published.compiled;
  const { session, at } = seen;
  const facts = grantFacts(manifest, seen.capability, seen.params, seen.address);
  const own = ownCells(manifest, await inForceOf(deps, session));
  const cells = await readCells(deps, candidate, session, cellsFor(manifest, session.task, facts, deps.digest), own);
  const moved = movesOfGrant(manifest, session, facts, ['call'], cells, at, deps.digest);
  return { difference: null, writes: moved.filter((write) => write.is !== undefined && own(write)), outcome: 'same' };
}

async function lookAtOutcome(deps: ShadowDeps, candidate: Candidate, seen: OutcomeSeen): Promise<Looked> {
  const { manifest } = candidate.published.compiled;
  const { session, at, outcome } = seen;
  const nothing: Looked = { difference: null, writes: [], outcome: 'same' };
  const waiting: CellRef = { scope: `action:${seen.id}` as Tracker['scope'], cell: 'awaited' };
  const kept = (await readCells(deps, candidate, session, [waiting], () => true)).get(cellKey(waiting));
  if (kept === undefined || kept.state === null) return nothing;
  const { labels: ownLabels, ...waits } = kept.state as unknown as Waits;
  const called = { ...waits, askedAt: new Date(waits.askedAt), rootId: session.rootId };
  const silent = { ...outcome, words: [], moreWords: false, vouchedWords: [] };
  const reported = reportedCells(manifest, called, silent, deps.digest).filter(({ cell }) => cell.includes('.'));
  const own = () => true;
  const cells = await readCells(
    deps,
    candidate,
    session,
    unique([...waits.awaited, ...reported, ...(ownLabels ? [labels] : [])]),
    own,
  );
  const writes = finishCall(manifest, called, silent, cells, at, deps.digest);
  // Labels of entities are those of the manifest in force.
  const moved = writes.filter(({ cell, puts }) => puts === undefined || (ownLabels && cell === labels.cell));
  const done: CellWrite = { ...waiting, state: null, version: kept.version };
  return { ...nothing, writes: [...moved, done] };
}

/** What is kept of a call for its outcome. */
interface Waits {
  tool: string;
  costMicroUsd: number;
  askedAt: string;
  awaited: Awaited[];
  /** Whether the session's labels are the candidate's own. */
  labels: boolean;
}

const labels: CellRef = { scope: 'session', cell: 'labels' };

/** The cells that only the candidate has: of trackers that the manifest in force does not move. */
function ownCells(candidate: Manifest, inForce: Manifest): (ref: CellRef) => boolean {
  const shared = trackerIds(inForce);
  const trackers = trackerIds(candidate);
  const otherLabels = labelsOfTools(candidate) !== labelsOfTools(inForce);
  return ({ cell }) => {
    if (cell === 'labels') return otherLabels;
    const id = cell.split('.', 1)[0]!;
    return trackers.has(id) && !shared.has(id);
  };
}

const trackerIds = memoize((manifest: Manifest) => new Set(compiledCalls(manifest).trackers.map(({ id }) => id)));
const labelsOfTools = memoize((manifest: Manifest) =>
  JSON.stringify(
    Object.entries(manifest.tools ?? {})
      .map(([name, tool]) => [name, [...tool.labels].sort()] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  ),
);

/** Of a grant that is issued later, the manifest that decides then. */
async function inForceOf(
  { store }: ShadowDeps,
  { agent, currentManifestVersion: version }: SessionFacts,
): Promise<Manifest> {
  const row = await store.prisma.manifest.findUniqueOrThrow({
    where: { agent_version: { agent, version } },
    select: { compiled: true },
  });
  return (row.compiled as unknown as { manifest: Manifest }).manifest;
}

/**
 * Cells as they were before the decision. Of those that both have, the decision's own reading is taken; what
 * it did not look at, it did not move either.
 */
async function readCells(
  { store }: ShadowDeps,
  { published }: Candidate,
  session: SessionFacts,
  refs: readonly CellRef[],
  own: (ref: CellRef) => boolean,
  { looked, inForce }: { looked: CallSeen['looked']; inForce: Manifest | null } = nothingLooked,
): Promise<Map<string, Cell>> {
  const { manifest } = published.compiled;
  const seen = new Set(looked.refs.map(cellKey));
  // Another owner's history is another one.
  const isSame = (ref: CellRef) => ref.scope !== 'owner' || inForce?.owner === manifest.owner;
  const cells = new Map<string, Cell>();
  const missing: { kind: string; scope: string; cell: string; own: boolean }[] = [];
  for (const ref of refs) {
    const key = cellKey(ref);
    if (own(ref) || !seen.has(key) || !isSame(ref)) {
      const { scope: kind, cell } = ref;
      missing.push({ kind, scope: scopeText(kind, session, manifest), cell, own: own(ref) });
    } else if (looked.cells.has(key)) cells.set(key, looked.cells.get(key)!);
  }
  if (missing.length === 0) return cells;
  const values = [published.agent, JSON.stringify(missing)];
  const rows = await store.run<{ kind: string; cell: string; state: JsonObject | null; version: number }>(
    readStatement,
    values,
  );
  for (const { kind, cell, state, version } of rows)
    cells.set(`${kind}/${cell}`, { state: state as Cell['state'], version });
  return cells;
}
const nothingLooked = { looked: { refs: [], cells: new Map() }, inForce: null };

/** What the candidate's rules about the call look at and it cannot know yet, in words. */
function unknownTo(
  { published, publishedAt }: Candidate,
  inForce: Manifest,
  session: SessionFacts,
  call: CallFacts,
  at: Date,
): string[] {
  const { manifest } = published.compiled;
  const own = ownCells(manifest, inForce);
  const isWhole = ({ scope, windowMs }: Tracker) =>
    scope === 'session'
      ? session.rootOpenedAt >= publishedAt
      : windowMs !== null && at.getTime() - windowMs >= publishedAt.getTime();
  const begun = session.rootOpenedAt < publishedAt;
  const looksAtOrigin = compiledCalls(inForce).looksAtOrigin;
  const lacking = rulesFor(manifest, call).flatMap((rule) => {
    const clauses = rule.unless === null ? rule.when : [...rule.when, rule.unless];
    const unseen = clauses
      .flatMap(({ sequence }) => sequence)
      .some(({ tracker }) => own({ scope: tracker.scope, cell: tracker.id }) && !isWhole(tracker));
    const unread =
      clauses.some(({ now }) => now.untrusted !== undefined || now.unvouched !== undefined) && !looksAtOrigin;
    const unlabelled =
      begun && own(labels) && clauses.some(({ now }) => now.label !== undefined || now.uncleared !== undefined);
    return [
      ...(unseen || unlabelled ? [`${rule.id} looks at what was before the candidate`] : []),
      ...(unread ? [`${rule.id} asks where values come from, and outputs are not looked at yet`] : []),
    ];
  });
  return [...new Set(lacking)];
}

const passes = (effect: string): boolean => effect === 'allow' || effect === 'approve';

function compared(
  seen: {
    id: string;
    kind: 'call' | 'grant';
    session: SessionFacts;
    at: Date;
    name: string;
    effect: string;
    reasons: readonly Reason[];
  },
  { effect, reasons, otherPlan }: { effect: string; reasons: readonly Reason[]; otherPlan?: string },
  because: string[],
  writes: CellWrite[],
): Looked {
  const other = passes(effect) && passes(seen.effect) ? otherPlan : undefined;
  // What was given by a break-glass went past the rules: a candidate's have no part in it.
  if (brokenGlassOf(seen.reasons) !== null) return { difference: null, writes, outcome: 'same' };
  if (effect === seen.effect && other === undefined) return { difference: null, writes, outcome: 'same' };
  const outcome = passes(effect) === passes(seen.effect) ? 'other' : passes(effect) ? 'looser' : 'stricter';
  const difference: Difference = {
    id: seen.id,
    kind: seen.kind,
    session_id: seen.session.id,
    at: seen.at,
    name: seen.name,
    was: { effect: seen.effect, reasons: seen.reasons },
    now: { effect, reasons },
    because: [...because, ...(other === undefined ? [] : [other])],
  };
  return { difference, writes, outcome };
}
