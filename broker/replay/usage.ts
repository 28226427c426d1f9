/** What an agent really used, of what is on record: what was let through, by tool and by capability. Pure. */
import type { Digest } from '../actions/cells.ts';
import type { Json } from '../core/vocabulary.ts';
import type { Manifest } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { type KnownArguments, knownArguments, type Vocabulary, vocabularyOf, withInputs } from './known-arguments.ts';
import type { Record, RecordedCall, RecordedGrant, RecordedSession } from './recorded.ts';

export interface UsedCall {
  call: RecordedCall;
  known: KnownArguments;
}

export interface Usage {
  sessions: readonly RecordedSession[];
  calls: ReadonlyMap<string, UsedCall[]>;
  grants: ReadonlyMap<string, RecordedGrant[]>;
  /** The most that one session, or one tree of them, used. */
  most: { wallTimeSeconds: number; grants: number; calls: number; costMicroUsd: number };
  /** Grants were handed on to sub-agents: how many a session used, the record does not say. */
  handedOn: boolean;
}

/** Effects by which something was used, now or once a person agreed. */
const used = (effect: string): boolean => effect === 'allow' || effect === 'approve';

export function usageOf(
  record: Record,
  inForce: PublishedManifest,
  versionOf: (number: number, agent: string) => PublishedManifest,
  digest: Digest,
): Usage {
  const { manifest } = inForce.compiled;
  const calls = new Map<string, UsedCall[]>();
  const grants = new Map<string, RecordedGrant[]>();
  const perSession = new Map<string, number>();
  const perTree = new Map<string, { calls: number; costMicroUsd: number }>();
  const lastSeen = new Map<string, number>();
  const vocabularies = new Map<string, Vocabulary>();
  for (const one of record.all) {
    const { session } = one;
    if (session.agent !== record.agent) continue;
    lastSeen.set(session.id, Math.max(lastSeen.get(session.id) ?? 0, one.at.getTime()));
    const inWindow = one.at >= record.since;
    if (one.kind === 'call') {
      // Denied ones too: a bound counts the call that is asked for.
      const tree = perTree.get(session.rootId) ?? { calls: 0, costMicroUsd: 0 };
      perTree.set(session.rootId, { calls: tree.calls + 1, costMicroUsd: tree.costMicroUsd + one.costMicroUsd });
    }
    if (!used(one.effect)) continue;
    if (one.kind === 'grant') {
      perSession.set(session.id, (perSession.get(session.id) ?? 0) + 1);
      if (inWindow) push(grants, one.capability, one);
      continue;
    }
    if (!inWindow) continue;
    const before = versionOf(one.manifestVersion, session.agent).compiled.manifest;
    const key = `${session.id}@${one.manifestVersion}`;
    const vocabulary = vocabularies.get(key) ?? vocabularyFor([before, manifest], session, digest);
    vocabularies.set(key, vocabulary);
    push(calls, one.tool, { call: one, known: knownArguments(one, vocabulary) });
  }
  const wallTimes = record.sessions.map(({ id, openedAt, endedAt }) => {
    const end = endedAt?.getTime() ?? record.until.getTime();
    return Math.ceil((Math.max(end, lastSeen.get(id) ?? 0) - openedAt.getTime()) / 1000);
  });
  return {
    sessions: record.sessions,
    calls,
    grants,
    most: {
      wallTimeSeconds: Math.max(0, ...wallTimes),
      grants: Math.max(0, ...perSession.values()),
      calls: Math.max(0, ...[...perTree.values()].map((tree) => tree.calls)),
      costMicroUsd: Math.max(0, ...[...perTree.values()].map((tree) => tree.costMicroUsd)),
    },
    handedOn: record.sessions.some(({ hasChildren }) => hasChildren),
  };
}

const vocabularyFor = (manifests: readonly Manifest[], session: RecordedSession, digest: Digest): Vocabulary =>
  withInputs(vocabularyOf(manifests, digest), manifests, session.task, digest);

function push<One>(into: Map<string, One[]>, key: string, one: One): void {
  const list = into.get(key);
  if (list === undefined) into.set(key, [one]);
  else list.push(one);
}

/** Each value once, in the order of its text. */
export const distinctValues = (values: readonly Json[]): Json[] =>
  [...new Map(values.map((value) => [JSON.stringify(value), value])).entries()]
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([, value]) => value);
