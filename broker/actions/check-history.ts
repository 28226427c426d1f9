/**
 * The cells of history, held against what the calls and grants on record made of them. A cell that somebody
 * changed, set back or deleted in the database lets calls pass and says nothing; this finds it, as long as
 * the rows of the calls are still there as they were written.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Catalog } from '../manifests/catalog.ts';
import { compiledCalls, type Tracker } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import type { Store } from '../store/open.ts';
import { keptFor } from './monitors.ts';
import { type RecordedAction, type RecordedGrant, rebuildCells } from './rebuild.ts';

export interface DifferingCell {
  /** As it is stored: `owner:team:billing/TRACKER.DIGEST`. */
  cell: string;
  /** `unexplained`: nothing on record made it. */
  what: 'changed' | 'missing' | 'unexplained';
}

export interface CheckedHistory {
  /** Cells that are as they must be. */
  right: number;
  differing: DifferingCell[];
}

/**
 * Reads all calls and grants into memory: about 1 kB each.
 * @throws WritError `unavailable` when a manifest version cannot be read
 */
export async function checkHistory(store: Store, catalog: Catalog, now: Date): Promise<CheckedHistory> {
  const { prisma } = store;
  // One moment: what is written meanwhile would differ.
  const [sessions, actions, granted, cells] = await prisma.$transaction(
    [
      prisma.session.findMany({ select: { id: true, rootId: true, principalRoot: true, releasedAt: true } }),
      prisma.action.findMany({ omit: { arguments: true, decision: true, awaited: true, sealedArguments: true } }),
      prisma.grant.findMany({
        where: { OR: [{ askedMoves: { isEmpty: false } }, { NOT: { redeemedMoves: { equals: [] } } }] },
      }),
      prisma.monitorCell.findMany(),
    ],
    { isolationLevel: 'RepeatableRead' },
  );
  const sessionOf = new Map(sessions.map((session) => [session.id, session]));
  const calls = actions.map(
    (one): RecordedAction => ({
      ...one,
      principalRoot: sessionOf.get(one.sessionId)!.principalRoot,
      costMicroUsd: Number(one.costMicroUsd),
      reportedCostMicroUsd: one.reportedCostMicroUsd === null ? null : Number(one.reportedCostMicroUsd),
    }),
  );
  const grants = granted.map(({ agent, manifestVersion, requestedAt, askedMoves, redeemedMoves, sessionId }) => {
    const { rootId, principalRoot } = sessionOf.get(sessionId)!;
    const redemptions = (redeemedMoves as unknown as StoredRedemption[]).map((one) => ({
      at: new Date(one.at),
      manifestVersion: one.manifest_version,
      moves: one.moves,
    }));
    const grant: RecordedGrant = {
      ...{ agent, manifestVersion, rootId, principalRoot },
      ...{ askedAt: requestedAt, askedMoves, redemptions },
    };
    return grant;
  });
  const manifests = await manifestsOf(catalog, [
    ...calls,
    ...grants.flatMap((grant) => [
      grant,
      ...grant.redemptions.map(({ manifestVersion }) => ({ ...grant, manifestVersion })),
    ]),
  ]);
  const rebuilt = rebuildCells(calls, grants, (agent, version) => manifests.get(nameOf(agent, version))!);
  const trackers = trackersOf(manifests.values());
  const live = new Set(
    sessions.filter(({ releasedAt }) => releasedAt === null).map(({ rootId }) => `session:${rootId}`),
  );
  return compare(rebuilt, cells, { trackers, live, now });
}

interface StoredRedemption {
  at: string;
  manifest_version: number;
  moves: string[];
}

const nameOf = (agent: string, version: number) => `${agent}@${version}`;

async function manifestsOf(
  catalog: Catalog,
  decided: readonly { agent: string; manifestVersion: number }[],
): Promise<Map<string, Manifest>> {
  const manifests = new Map<string, Manifest>();
  for (const { agent, manifestVersion } of decided) {
    const name = nameOf(agent, manifestVersion);
    if (!manifests.has(name)) manifests.set(name, (await catalog.version(agent, manifestVersion)).compiled.manifest);
  }
  return manifests;
}

const trackersOf = (manifests: Iterable<Manifest>): Map<string, Tracker> =>
  new Map([...manifests].flatMap((manifest) => compiledCalls(manifest).trackers).map((one) => [one.id, one]));

function compare(
  rebuilt: ReturnType<typeof rebuildCells>,
  cells: readonly { scope: string; cell: string; state: unknown; movedAt: Date }[],
  known: { trackers: Map<string, Tracker>; live: ReadonlySet<string>; now: Date },
): CheckedHistory {
  const differing: DifferingCell[] = [];
  const stored = new Map(cells.map((one) => [`${one.scope}/${one.cell}`, one.state]));
  let right = 0;
  for (const [cell, state] of rebuilt) {
    const there = stored.get(cell);
    if (isDeepStrictEqual(there ?? null, state)) right += 1;
    else if (there != null) differing.push({ cell, what: 'changed' });
    else if (!mayBePruned(cell, state, known)) differing.push({ cell, what: 'missing' });
  }
  // Marks of words have no state: they are their own record.
  for (const [cell, state] of stored)
    if (state !== null && !rebuilt.has(cell)) differing.push({ cell, what: 'unexplained' });
  return { right, differing };
}

function mayBePruned(
  name: string,
  state: unknown,
  { trackers, live, now }: { trackers: Map<string, Tracker>; live: ReadonlySet<string>; now: Date },
): boolean {
  const slash = name.lastIndexOf('/');
  const [scope, cell] = [name.slice(0, slash), name.slice(slash + 1)];
  if (scope.startsWith('session:')) return !live.has(scope);
  const tracker = trackers.get(cell.split('.', 1)[0]!);
  const ms = tracker === undefined ? null : keptFor(tracker);
  return ms !== null && lastMove(state, tracker!) < now.getTime() - ms;
}

/** When it was last moved, by its own word; of a count, when its last step ended. */
function lastMove(state: unknown, { windowMs }: Tracker): number {
  const { t, steps = {} } = (state ?? {}) as { t?: number; steps?: { [step: string]: number } };
  if (t !== undefined) return t;
  const last = Math.max(0, ...Object.keys(steps).map(Number));
  return (last + 1) * Math.max(1, Math.floor((windowMs ?? 0) / 64));
}
