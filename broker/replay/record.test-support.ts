/** Random histories as they are on record, and how another manifest would really have decided them. */
import { type Cell, type CellRef, cellKey, labelsIn, labelWrite } from '../actions/cells.ts';
import { callFacts, cellsFor, evaluateCall, movesOfGrant } from '../actions/evaluate-call.ts';
import {
  digest,
  Folded,
  type Recorded as Folding,
  follow,
  type Manifests,
  type Step,
} from '../actions/histories.test-support.ts';
import { lineageWrites, touchedLabels } from '../actions/lineage.ts';
import { wordsOf } from '../actions/origin.ts';
import { type Awaited, awaitedOutcome, finishCall, reportedCells } from '../actions/outcome.ts';
import { storedScope } from '../actions/rebuild.ts';
import type { Who } from '../actions/reference.test-support.ts';
import { shownArguments } from '../actions/shown-arguments.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import type { Record, RecordedCall } from './recorded.ts';

export const publishedAs = (compiled: CompiledManifest, version: number): PublishedManifest => ({
  agent: compiled.agent,
  version,
  sha256: compiled.sha256,
  compiled,
});

export const reasonsOf = new Map<string, string>();
export interface Told {
  record: Record;
  /** What the candidate would really have decided on each call, knowing all arguments. */
  truth: Map<string, string>;
}

/** Follows a history of one agent under one manifest, with another one beside it that knows everything. */
export function recordOf(under: Manifests, agent: string, steps: readonly Step[], candidate: CompiledManifest): Told {
  const folded = new Folded(under);
  const cells = new Map<string, Cell>();
  const truth = new Map<string, string>();
  const waiting = new Map<Folding, Awaited[]>();
  const { manifest } = candidate;
  const published = publishedAs(candidate, 2);
  const stored = ({ rootId, agent: of, principal }: Who, { scope, cell }: CellRef) =>
    `${storedScope(scope, { rootId, agent: of, principalRoot: principal }, manifest)}/${cell}`;
  const read = (who: Who, refs: readonly CellRef[]) =>
    new Map(
      refs.flatMap((ref) =>
        cells.has(stored(who, ref)) ? [[cellKey(ref), cells.get(stored(who, ref))!] as const] : [],
      ),
    );
  const write = (who: Who, writes: readonly (CellRef & Cell)[]) => {
    for (const { state, version, ...ref } of writes) cells.set(stored(who, ref), { state, version: version + 1 });
  };
  // Of two events in one millisecond the record does not say which was the first.
  const mine = steps
    .filter((step) => step.do === 'finish' || step.who.agent === agent)
    .map((step) => ({ ...step, wait: step.wait + 1 }));
  follow(folded, mine, (step, recorded, at) => {
    const { who, call } = recorded;
    if (step.do === 'finish') {
      const { words, more } = wordsOf(step.output);
      const outcome = { ...step, words, moreWords: more, vouchedWords: [] };
      const awaited = waiting.get(recorded) ?? [];
      const cost = callFacts(manifest, who.task, call).costMicroUsd;
      const { askedAt } = recorded;
      const action = { tool: call.tool, costMicroUsd: cost, askedAt, rootId: who.rootId, awaited };
      const refs = [...reportedCells(manifest, action, outcome, digest), ...awaited];
      write(who, finishCall(manifest, action, outcome, read(who, refs), new Date(at), digest));
      return;
    }
    const facts = callFacts(manifest, who.task, call);
    const before = read(who, cellsFor(manifest, who.task, facts, digest));
    const session = { ...who, rootOpenedAt: new Date(who.openedAt), facts: { withheld: [] } };
    const { decision } = evaluateCall(published, session, call, facts, before, new Date(at), digest);
    truth.set(`act_${folded.recorded.indexOf(recorded)}`, decision.effect);
    reasonsOf.set(`act_${folded.recorded.indexOf(recorded)}`, JSON.stringify(decision));
    const allowed = recorded.effect === 'allow';
    const kinds = ['attempt', allowed ? 'call' : 'denied'] as const;
    write(who, movesOfGrant(manifest, session, facts, kinds, before, new Date(at), digest));
    // Labels stick by what really was let through, and follow it from entity to entity.
    if (allowed) {
      const [moment, touched] = [{ now: at }, touchedLabels(manifest, facts, before, digest)];
      write(who, labelWrite(before, [...facts.labels, ...touched], moment));
      write(who, lineageWrites(manifest, facts, [...labelsIn(before), ...touched], before, moment, digest));
    }
    if (allowed) waiting.set(recorded, awaitedOutcome(manifest, facts, digest));
  });
  const all = folded.recorded.map((one, index) => callOf(one, index));
  const times = [...all.map(({ at }) => at.getTime()), 0];
  return {
    record: {
      agent,
      since: new Date(0),
      until: new Date(Math.max(...times)),
      knownFrom: new Date(0),
      fromTheBeginning: true,
      all,
      sessions: [...new Map(all.map(({ session }) => [session.id, session])).values()],
    },
    truth,
  };
}

function callOf(one: Folding, index: number): RecordedCall {
  const { who, call, evaluation } = one;
  return {
    kind: 'call',
    id: `act_${index}`,
    session: {
      id: `${who.rootId}-${who.task.task_type}`,
      rootId: who.rootId,
      agent: who.agent,
      principalRoot: who.principal,
      task: who.task,
      onBehalfOf: who.onBehalfOf as RecordedCall['session']['onBehalfOf'],
      declaredOnBehalfOf: who.declaredOnBehalfOf,
      capabilities: [],
      narrowed: false,
      maxGrants: null,
      openedAt: new Date(who.openedAt),
      rootOpenedAt: new Date(who.openedAt),
      expiresAt: new Date(who.openedAt + 30 * 60_000),
      withheld: [],
      attested: who.attested ?? null,
      endedAt: null,
      hasChildren: false,
    },
    at: one.askedAt,
    tool: call.tool,
    shown: shownArguments(call.args, digest) as unknown as RecordedCall['shown'],
    effect: one.effect,
    reasons: evaluation.decision.reasons,
    hits: evaluation.hits,
    manifestVersion: 1,
    costMicroUsd: evaluation.facts.costMicroUsd,
    reportedCostMicroUsd: one.reportedCostMicroUsd,
    touchedMore: one.touchedMore,
    labels: one.labels,
    agreed: null,
    outcome: one.outcome,
    finishedAt: one.finishedAt,
  };
}
