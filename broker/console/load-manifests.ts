/** What the console reads of manifests: versions, proposals, the candidate. Reads only. */

import { barredFromAgreeing, proposalHolds, type StoredProposal } from '../manifests/agree.ts';
import type { ProviderShapes } from '../manifests/check.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { diffManifests, isWidening } from '../manifests/diff.ts';
import type { Change } from '../manifests/diff-change.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { agentsOf } from '../manifests/owner-marks.ts';
import { manifestHolds, newestManifest } from '../manifests/publish.ts';
import { readManifest } from '../manifests/read.ts';
import type { Admin } from '../people/identity.ts';
import { endOfGrace, goneOwners } from '../signals/owner-presence.ts';
import type { Store } from '../store/open.ts';
import type { Prisma } from '../store/prisma/client.ts';

export interface ListedAgent {
  agent: string;
  /** 0 = no version is in force: the first one waits. */
  version: number;
  /** Proposals that wait for another admin. */
  waiting: number;
  /** Its owner is gone, and when its sessions end by that; null = the owner is here. */
  owner_gone: { owner: string; since: Date; ends_at: Date } | null;
}

export interface VersionView {
  version: number;
  author: string;
  reason: string;
  published_at: Date;
  source: string;
  in_force: boolean;
  /** The other admin, where it took two. */
  agreed_by: string | null;
  /** False: the row was not written by this broker, or was changed; it is never decided on. */
  proven: boolean;
  /** Against the newest proven version before it; what widens first. Null = it is not proven. */
  changes: Change[] | null;
}

export interface ProposalView {
  id: string;
  sha256: string;
  author: string;
  reason: string;
  proposed_at: Date;
  base_version: number;
  source: string;
  /** Against the newest version; null = it does not hold under what the broker is now, or is not proven. */
  changes: Change[] | null;
  /** Why this person may not agree; null = they may. */
  bar: string | null;
}

export interface CandidateView {
  number: number;
  author: string;
  reason: string;
  published_at: Date;
  withdrawn_at: Date | null;
  /** Differences that are kept: the newest thousand. */
  count: number;
  newest: Difference[];
}

export interface Difference {
  id: string;
  kind: string;
  session_id: string;
  at: Date;
  name: string;
  was: string;
  now: string;
  because: string[];
}

/** Versions on one page. */
export const versionsShown = 20;
const differencesShown = 20;

export async function loadAgents(store: Store, graceSeconds: number): Promise<ListedAgent[]> {
  const { prisma } = store;
  const [agents, waiting, gone] = await Promise.all([
    prisma.agent.findMany({ select: { name: true, version: true } }),
    prisma.manifestProposal.groupBy({ by: ['agent'], where: { status: 'proposed' }, _count: true }),
    loadGone(store, graceSeconds),
  ]);
  const versions = new Map(agents.map(({ name, version }) => [name, version]));
  const counts = new Map(waiting.map(({ agent, _count }) => [agent, _count]));
  return [...new Set([...versions.keys(), ...counts.keys()])].sort().map((agent) => ({
    agent,
    version: versions.get(agent) ?? 0,
    waiting: counts.get(agent) ?? 0,
    owner_gone: gone.get(agent) ?? null,
  }));
}

/** Null = nobody has published or proposed anything for it. */
export async function loadAgent(store: Store, agent: string, graceSeconds: number): Promise<ListedAgent | null> {
  const [row, waiting, gone] = await Promise.all([
    store.prisma.agent.findUnique({ where: { name: agent } }),
    store.prisma.manifestProposal.count({ where: { agent, status: 'proposed' } }),
    loadGone(store, graceSeconds),
  ]);
  if (row === null && waiting === 0) return null;
  return { agent, version: row?.version ?? 0, waiting, owner_gone: gone.get(agent) ?? null };
}

/** Agents whose owner is gone: from what was signalled, not from what people were told. */
async function loadGone(
  store: Store,
  graceSeconds: number,
): Promise<Map<string, NonNullable<ListedAgent['owner_gone']>>> {
  const gone = await goneOwners(store);
  if (gone.size === 0) return new Map();
  const agents = await agentsOf(store, [...gone.keys()]);
  return new Map(
    agents.flatMap(({ agent, owner }) => {
      const absence = gone.get(owner);
      if (absence === undefined) return [];
      return [[agent, { owner, since: absence.since, ends_at: endOfGrace(absence, graceSeconds) }]] as const;
    }),
  );
}

/**
 * The newest versions below `before`, newest first.
 * @returns older: where the next page begins; null = that is all
 */
export async function loadVersions(
  store: Store,
  { agent, version: inForce }: ListedAgent,
  before: number,
): Promise<{ versions: VersionView[]; older: number | null }> {
  const rows = await store.prisma.manifest.findMany({
    where: { agent, version: { lt: before } },
    orderBy: { version: 'desc' },
    take: versionsShown + 1,
  });
  const shown = rows.slice(0, versionsShown);
  const agreed = await store.prisma.manifestProposal.findMany({
    where: { agent, version: { in: shown.map(({ version }) => version) } },
  });
  const proven = rows.filter((row) => manifestHolds(store, row));
  const versions = shown.map((row): VersionView => {
    const holds = proven.includes(row);
    const earlier = proven.find(({ version }) => version < row.version);
    return {
      version: row.version,
      author: row.author,
      reason: row.reason,
      published_at: row.publishedAt,
      source: row.source,
      in_force: row.version === inForce,
      agreed_by: agreed.find(({ version }) => version === row.version)?.decidedBy ?? null,
      proven: holds,
      changes: holds
        ? inOrder(diffManifests(earlier === undefined ? null : manifestOf(earlier), manifestOf(row)))
        : null,
    };
  });
  return { versions, older: rows.length > versionsShown ? shown.at(-1)!.version : null };
}

const manifestOf = (row: Prisma.ManifestGetPayload<object>): Manifest =>
  (row.compiled as unknown as CompiledManifest).manifest;

/** What widens first: it is what somebody has to look at. */
const inOrder = (changes: Change[]): Change[] => {
  const wider = (one: Change) => isWidening([one]);
  return [...changes.filter(wider), ...changes.filter((one) => !wider(one))];
};

/** @param admin who looks; null = nobody who could agree */
export async function loadProposals(
  store: Store,
  shapes: ProviderShapes,
  { agent, version }: ListedAgent,
  admin: Admin | null,
): Promise<ProposalView[]> {
  const rows = await store.prisma.manifestProposal.findMany({
    where: { agent, status: 'proposed' },
    orderBy: { id: 'asc' },
    take: versionsShown,
  });
  const newest = rows.length === 0 ? null : await newestManifest(store, agent);
  return rows.map((row): ProposalView => {
    const proven = proposalHolds(store, row);
    const read = readManifest(row.source, shapes);
    return {
      id: row.id,
      sha256: row.sha256,
      author: row.author,
      reason: row.reason,
      proposed_at: row.proposedAt,
      base_version: row.baseVersion,
      source: row.source,
      changes: proven && read.ok ? inOrder(diffManifests(newest, read.compiled.manifest)) : null,
      bar: barOf(row, { proven, readable: read.ok, stale: row.baseVersion !== version }, admin),
    };
  });
}

function barOf(
  row: StoredProposal,
  { proven, readable, stale }: { proven: boolean; readable: boolean; stale: boolean },
  admin: Admin | null,
): string | null {
  if (!proven) return 'This row was not written by this broker, or was changed: nobody can agree to it.';
  if (!readable) return 'It does not hold here any more: propose it again to see why.';
  if (stale) return `Another version has come into force since version ${row.baseVersion}: it must be proposed again.`;
  if (admin === null) return 'An admin must agree to it.';
  return barredFromAgreeing(row, admin);
}

export async function loadCandidate({ prisma }: Store, agent: string): Promise<CandidateView | null> {
  const candidate = await prisma.manifestCandidate.findUnique({ where: { agent } });
  if (candidate === null) return null;
  const { number, author, reason, publishedAt, withdrawnAt } = candidate;
  const where = { agent, candidate: number };
  const [count, rows] = await Promise.all([
    prisma.shadowDifference.count({ where }),
    prisma.shadowDifference.findMany({ where, orderBy: [{ at: 'desc' }, { id: 'desc' }], take: differencesShown }),
  ]);
  const effectOf = (json: Prisma.JsonValue) => (json as { effect: string }).effect;
  const newest = rows.map(({ id, kind, sessionId, at, name, was, now, because }) => ({
    id,
    kind,
    session_id: sessionId,
    at,
    name,
    was: effectOf(was),
    now: effectOf(now),
    because,
  }));
  return { number, author, reason, published_at: publishedAt, withdrawn_at: withdrawnAt, count, newest };
}
