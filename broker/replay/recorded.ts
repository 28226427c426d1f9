/** What is on record of an agent in a time: sessions, tool calls and grants. Reads alone. */
import { WritError } from '../core/errors.ts';
import type { VouchedPerson } from '../core/identifier.ts';
import { isQuestion } from '../core/questions.ts';
import type { JsonObject, Plan, Reason, Task } from '../core/vocabulary.ts';
import type { Store } from '../store/open.ts';

export interface RecordedSession {
  id: string;
  rootId: string;
  agent: string;
  principalRoot: string;
  task: Task;
  onBehalfOf: VouchedPerson | null;
  declaredOnBehalfOf: string | null;
  capabilities: string[];
  narrowed: boolean;
  maxGrants: number | null;
  openedAt: Date;
  rootOpenedAt: Date;
  expiresAt: Date;
  /** What rules took from its tree, at some time. */
  withheld: string[];
  attested: JsonObject | null;
  endedAt: Date | null;
  hasChildren: boolean;
}

/** An argument as it is kept (`actions/request-action.ts`, `shownArguments`). */
export interface ShownArgument {
  type: string;
  digest: string;
  length?: number;
  begins?: string;
}

export interface RecordedCall {
  kind: 'call';
  id: string;
  session: RecordedSession;
  at: Date;
  tool: string;
  shown: { [name: string]: ShownArgument };
  effect: string;
  reasons: Reason[];
  hits: readonly string[];
  manifestVersion: number;
  costMicroUsd: number;
  /** As its host reported it; null = the estimate stands. */
  reportedCostMicroUsd: number | null;
  /** Whether its host reported what else it touched; what, is not kept. */
  touchedMore: boolean;
  /** The tool's by the manifest, and those that were reported. */
  labels: readonly string[];
  /** Ids of rules about which people were asked first, and agreed; null = nobody was asked. */
  agreed: readonly string[] | null;
  outcome: string | null;
  finishedAt: Date | null;
}

export interface RecordedGrant {
  kind: 'grant';
  id: string;
  session: RecordedSession;
  at: Date;
  capability: string;
  /** Complete: what the agent gave, what the manifest fixed, and defaults. */
  params: JsonObject;
  plan: Plan;
  effect: string;
  reasons: Reason[];
  policyIds: readonly string[];
  manifestVersion: number;
  status: string;
  /** When its credential was to be issued; null = it never was. */
  issuedAt: Date | null;
  /** When it came to its end, or was denied. */
  endedAt: Date | null;
}

export type Recorded = RecordedCall | RecordedGrant;

/** What replaying looks at: a window, and before it what the candidate's rules look back at. */
export interface Record {
  agent: string;
  since: Date;
  until: Date;
  /** From here on all of the agent's is there; of sessions with something in the window, all of them. */
  knownFrom: Date;
  /** Whether nothing of the agent is older. */
  fromTheBeginning: boolean;
  /** In the order of time. */
  all: Recorded[];
  /** Sessions of the agent that were opened in the window, or in which something was asked for in it. */
  sessions: RecordedSession[];
}

/** More than this in one replay is refused: the window has to be narrowed. */
export const maxRecorded = 50_000;

/**
 * @param lookBackMs how far before `since` rules look
 * @throws WritError `bad_request` when there is more than `maxRecorded`
 */
export async function readRecord(
  store: Store,
  { agent, since, until, lookBackMs }: { agent: string; since: Date; until: Date; lookBackMs: number },
): Promise<Record> {
  const { prisma } = store;
  const knownFrom = new Date(Math.max(0, since.getTime() - lookBackMs));
  const asked = { gte: since, lte: until };
  const recent = await Promise.all([
    prisma.action.findMany({ where: { agent, askedAt: asked }, select: { rootId: true }, distinct: ['rootId'] }),
    prisma.grant.findMany({
      where: { agent, requestedAt: asked },
      select: { session: { select: { rootId: true } } },
      distinct: ['sessionId'],
    }),
  ]);
  const roots = new Set([...recent[0].map(({ rootId }) => rootId), ...recent[1].map(({ session }) => session.rootId)]);
  // Trees are read whole: what a rule remembers of a session begins with it.
  const inTrees = { rootId: { in: [...roots] } };
  const [actions, grants] = await Promise.all([
    prisma.action.findMany({
      where: { OR: [{ agent, askedAt: { gte: knownFrom } }, inTrees], askedAt: { lte: until } },
      orderBy: [{ askedAt: 'asc' }, { id: 'asc' }],
      take: maxRecorded + 1,
    }),
    prisma.grant.findMany({
      where: { OR: [{ agent, requestedAt: { gte: knownFrom } }, { session: inTrees }], requestedAt: { lte: until } },
      include: { leases: { select: { intentAt: true } } },
      orderBy: [{ requestedAt: 'asc' }, { id: 'asc' }],
      take: maxRecorded + 1,
    }),
  ]);
  if (actions.length + grants.length > maxRecorded)
    throw new WritError('bad_request', {
      errors: [{ path: 'since', message: `there are more than ${maxRecorded} calls and grants: take a shorter time` }],
    });
  const ids = new Set([...actions.map(({ sessionId }) => sessionId), ...grants.map(({ sessionId }) => sessionId)]);
  const opened = await prisma.session.findMany({
    where: { agent, openedAt: asked },
    select: { id: true },
    take: maxRecorded,
  });
  const sessions = await readSessions(store, [...new Set([...ids, ...opened.map(({ id }) => id)])]);
  const older = await Promise.all([
    prisma.action.findFirst({ where: { agent, askedAt: { lt: knownFrom } }, select: { id: true } }),
    prisma.grant.findFirst({ where: { agent, requestedAt: { lt: knownFrom } }, select: { id: true } }),
  ]);
  // Asked again after people agreed, a call is a row of its own; the first keeps its place by its id.
  const askedKey = ({ sessionId, requestDigest }: { sessionId: string; requestDigest: string }) =>
    `${sessionId} ${requestDigest}`;
  const askedFirst = new Map(
    actions
      .filter(({ effect, callKey, id }) => effect === 'approve' && callKey === `asked:${id}`)
      .map((row) => [askedKey(row), (row.decision as unknown as { hits?: string[] }).hits ?? []]),
  );
  const calls = actions.map((row): RecordedCall => {
    const decision = row.decision as unknown as { reasons: Reason[]; hits?: string[] };
    return {
      kind: 'call',
      id: row.id,
      session: sessions.get(row.sessionId)!,
      at: row.askedAt,
      tool: row.tool,
      shown: row.arguments as unknown as RecordedCall['shown'],
      effect: row.effect,
      reasons: decision.reasons,
      hits: decision.hits ?? [],
      manifestVersion: row.manifestVersion,
      costMicroUsd: Number(row.costMicroUsd),
      reportedCostMicroUsd: row.reportedCostMicroUsd === null ? null : Number(row.reportedCostMicroUsd),
      touchedMore: (row.entities as unknown[]).length > 0,
      labels: row.labels,
      agreed: row.effect === 'allow' ? (askedFirst.get(askedKey(row)) ?? null) : null,
      outcome: row.outcome,
      finishedAt: row.finishedAt,
    };
  });
  // A question about a tool call is no grant: it is on record as the call.
  const granted = grants
    .filter(({ capability }) => !isQuestion(capability))
    .map((row): RecordedGrant => {
      const decision = row.decision as unknown as {
        effect: string;
        reasons: Reason[];
        policy_ids: string[];
        session_effect?: string;
      };
      const intents = row.leases.map(({ intentAt }) => intentAt.getTime());
      return {
        kind: 'grant',
        id: row.id,
        session: sessions.get(row.sessionId)!,
        at: row.requestedAt,
        capability: row.capability,
        params: row.params as JsonObject,
        plan: row.plan as unknown as Plan,
        // Only what waits for a person has a deadline; the row keeps the latest decision, not the first.
        effect: row.decideBy !== null ? 'approve' : (decision.session_effect ?? decision.effect),
        reasons: decision.reasons,
        policyIds: decision.policy_ids,
        manifestVersion: row.manifestVersion,
        status: row.status,
        issuedAt: intents.length === 0 ? null : new Date(Math.min(...intents)),
        endedAt: row.endedAt,
      };
    });
  const all = [...calls, ...granted].toSorted((a, b) => a.at.getTime() - b.at.getTime() || (a.id < b.id ? -1 : 1));
  const inWindow = new Set([
    ...opened.map(({ id }) => id),
    ...all.filter(({ at }) => at >= since).map(({ session }) => session.id),
  ]);
  return {
    agent,
    since,
    until,
    knownFrom,
    fromTheBeginning: older.every((one) => one === null),
    all,
    sessions: [...sessions.values()].filter((one) => one.agent === agent && inWindow.has(one.id)),
  };
}

/** Parameters in one query, at most. */
const page = 5_000;

async function readSessions({ prisma }: Store, ids: readonly string[]): Promise<Map<string, RecordedSession>> {
  const read = async (some: readonly string[]) => {
    const pages = Array.from({ length: Math.ceil(some.length / page) }, (_, n) => some.slice(n * page, (n + 1) * page));
    return (await Promise.all(pages.map((one) => prisma.session.findMany({ where: { id: { in: [...one] } } })))).flat();
  };
  const rows = await read(ids);
  const roots = new Map((await read([...new Set(rows.map(({ rootId }) => rootId))])).map((row) => [row.id, row]));
  return new Map(
    rows.map((row) => [
      row.id,
      {
        id: row.id,
        rootId: row.rootId,
        agent: row.agent,
        principalRoot: row.principalRoot,
        task: { task_type: row.taskType, inputs: row.inputs as Task['inputs'] },
        onBehalfOf: row.onBehalfOf as VouchedPerson | null,
        declaredOnBehalfOf: row.declaredOnBehalfOf,
        capabilities: row.capabilities,
        narrowed: row.narrowed,
        maxGrants: row.maxGrants,
        openedAt: row.openedAt,
        rootOpenedAt: roots.get(row.rootId)?.openedAt ?? row.openedAt,
        expiresAt: row.expiresAt,
        withheld: roots.get(row.rootId)?.withheld ?? row.withheld,
        attested: ((row.subject as JsonObject).attested as JsonObject | undefined) ?? null,
        endedAt: row.endedAt,
        hasChildren: (roots.get(row.rootId)?.childCount ?? 0) > 0 || row.parentId !== null,
      },
    ]),
  );
}
