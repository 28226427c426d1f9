/**
 * Decides anew what is on record, by a manifest that was not in force. Pure: rows in, differences out.
 *
 * Each call and grant is decided by itself, on the history as it was: what the candidate would have denied
 * stays in the history of what came after, as it really happened.
 */
import type { Provider } from '../../providers/contract.ts';
import type { Digest } from '../actions/cells.ts';
import { callFacts, grantFacts } from '../actions/evaluate-call.ts';
import { storedScope } from '../actions/rebuild.ts';
import type { Reason } from '../core/vocabulary.ts';
import { type CallFacts, compiledCalls, type Tracker, toolOf } from '../manifests/compile-calls.ts';
import { type Manifest, member } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import type { EventKind } from '../manifests/tool-schema.ts';
import { type BoundedHistory, boundedHistory, type Cost, type Keys } from './bounded-history.ts';
import { type BoundedCall, type BoundedScene, eventTold, keysTold } from './bounded-rules.ts';
import { brokenGlassOf, underCandidate } from './broken-glass.ts';
import { type KnownArguments, knownArguments, type Vocabulary, vocabularyOf, withInputs } from './known-arguments.ts';
import type { Record, Recorded, RecordedCall, RecordedGrant, RecordedSession } from './recorded.ts';
import { type Redecided, redecideCall } from './redecide-call.ts';
import { type Counted, redecideGrant } from './redecide-grant.ts';

export const groups = ['newly_denied', 'newly_allowed', 'other_effect', 'undecidable'] as const;
export type Group = (typeof groups)[number];

/** One call or grant that would come out otherwise, or of which nobody can tell. */
export interface Difference {
  kind: 'call' | 'grant';
  id: string;
  session: string;
  at: Date;
  /** The tool or the capability. */
  name: string;
  was: { effect: string; reasons: Reason[] };
  /** Effects that it may have; one, unless nobody can tell. */
  now: { effects: string[]; reasons: Reason[] };
  /** What else would be another (a permission), or what is not known. */
  because: string[];
}

export interface Replay {
  /** Calls and grants of the window. */
  decided: number;
  unchanged: number;
  /** Given by a break-glass, whatever the rules say: counted by itself, and no difference. */
  by_break_glass: Difference[];
  groups: { [group in Group]: Difference[] };
}

export interface ReplayInput {
  record: Record;
  candidate: PublishedManifest;
  /** The version that a call or grant was decided under. */
  versionOf(number: number, agent: string): PublishedManifest;
  providers: ReadonlyMap<string, Provider>;
  digest: Digest;
  /** Other agents have the same owner: what they did is not on this record. */
  ownerHasOthers: boolean;
}

/** How far back rules of a manifest look beyond a session, in milliseconds. */
export const looksBackMs = (manifest: Manifest): number =>
  Math.max(
    0,
    ...compiledCalls(manifest)
      .trackers.filter(({ scope }) => scope !== 'session')
      .map(({ windowMs }) => windowMs ?? longestMs),
  );
/** As long as history is kept. */
const longestMs = 90 * 86_400_000;

export function replay(input: ReplayInput): Replay {
  const { record, candidate, digest } = input;
  const { manifest } = candidate.compiled;
  const follow = follower(input);
  const result: Replay = {
    decided: 0,
    unchanged: 0,
    by_break_glass: [],
    groups: { newly_denied: [], newly_allowed: [], other_effect: [], undecidable: [] },
  };
  const vocabularies = new Map<string, Vocabulary>();
  const constants = new Map<Manifest, Vocabulary>();
  const knownOf = (one: RecordedCall): KnownArguments => {
    const before = input.versionOf(one.manifestVersion, one.session.agent).compiled.manifest;
    const key = `${one.session.id}@${one.manifestVersion}`;
    let vocabulary = vocabularies.get(key);
    if (vocabulary === undefined) {
      const written = constants.get(before) ?? vocabularyOf([before, manifest], digest);
      constants.set(before, written);
      vocabulary = withInputs(written, [before, manifest], one.session.task, digest);
      vocabularies.set(key, vocabulary);
    }
    return knownArguments(one, vocabulary);
  };

  for (const { at, what, one } of eventsOf(record.all)) {
    const call = one.kind === 'call' ? boundedCall(input, one, knownOf(one)) : boundedGrant(manifest, one);
    if (what === 'asked' && one.session.agent === record.agent && at >= record.since) {
      result.decided += 1;
      const glass = one.kind === 'grant' ? brokenGlassOf(one.reasons) : null;
      if (glass !== null) {
        result.by_break_glass.push(givenByGlass(input, one as RecordedGrant, glass));
        follow.note(one, call, what, at);
        continue;
      }
      const found = differenceOf(one, redecide(input, follow, one, call));
      if (found === null) result.unchanged += 1;
      else result.groups[found.group].push(found.difference);
    }
    follow.note(one, call, what, at);
  }
  return result;
}

type What = 'asked' | 'finished' | 'issued';

/** Everything that moves history, in the order of time. */
function eventsOf(all: readonly Recorded[]): { at: Date; what: What; one: Recorded }[] {
  return all
    .flatMap((one): { at: Date; what: What; one: Recorded }[] => {
      const asked = { at: one.at, what: 'asked' as const, one };
      const later = one.kind === 'call' ? one.finishedAt : one.issuedAt;
      return later === null ? [asked] : [asked, { at: later, what: one.kind === 'call' ? 'finished' : 'issued', one }];
    })
    .toSorted((a, b) => a.at.getTime() - b.at.getTime());
}

/** The call under the candidate, as far as its arguments are known. */
function boundedCall({ versionOf, candidate }: ReplayInput, call: RecordedCall, known: KnownArguments): BoundedCall {
  const { manifest } = candidate.compiled;
  const before = toolOf(versionOf(call.manifestVersion, call.session.agent).compiled.manifest, call.tool);
  const after = toolOf(manifest, call.tool);
  const cost = costOf(call.costMicroUsd, before?.cost_usd, after?.cost_usd);
  const asked = { tool: call.tool, args: known.values, costMicroUsd: call.costMicroUsd };
  return { manifest, facts: callFacts(manifest, call.session.task, asked), known, cost };
}

/** The record has what a call cost; not whether its host said so, or the manifest of that time. */
function costOf(recorded: number, before: number | undefined, after: number | undefined): Cost {
  if (after === undefined) return { least: 0, most: 0 };
  // Of a tool that was not listed, what its host estimated was not kept.
  if (before === undefined) return { least: 0, most: Number.MAX_SAFE_INTEGER };
  if (recorded !== before) return { least: recorded, most: recorded };
  return { least: Math.min(recorded, after), most: Math.max(recorded, after) };
}

const allThere: KnownArguments = { values: {}, unknown: new Map(), more: false };
const boundedGrant = (manifest: Manifest, grant: RecordedGrant): BoundedCall => ({
  manifest,
  facts: grantFacts(manifest, grant.capability, grant.params, null),
  known: allThere,
  cost: { least: 0, most: 0 },
});

interface Follower {
  history: BoundedHistory;
  sceneOf(one: Recorded, call: BoundedCall): BoundedScene;
  countedBefore(grant: RecordedGrant): Counted;
  note(one: Recorded, call: BoundedCall, what: What, at: Date): void;
}

/** What history is, after everything that was noted. */
function follower({ record, candidate, versionOf, ownerHasOthers }: ReplayInput): Follower {
  const { manifest } = candidate.compiled;
  const history = boundedHistory();
  const labels = new Map<string, Set<string>>();
  const granted: RecordedGrant[] = [];
  const labelsOf = (rootId: string): Set<string> => {
    const known = labels.get(rootId) ?? new Set<string>();
    labels.set(rootId, known);
    return known;
  };
  // Labels that calls of any session put on entities are kept as marks without a time.
  const followEntities =
    Object.values(manifest.tools ?? {}).some(({ writes }) => writes) ||
    record.all.some((one) => one.kind === 'call' && one.touchedMore);
  const scopeOf = (tracker: Tracker, session: RecordedSession) => storedScope(tracker.scope, session, manifest);

  return {
    history,
    sceneOf: (one, call) => ({
      call,
      session: { ...one.session, facts: { withheld: one.session.withheld } },
      asking: one.kind === 'call' && one.agreed !== null ? ['call'] : ['attempt', 'call'],
      labels: [...labelsOf(one.session.rootId)],
      moreLabels: followEntities,
      moment: { now: one.at.getTime(), rootId: one.session.rootId },
      history,
      scopeOf: (tracker) => scopeOf(tracker, one.session),
      isComplete: ({ scope, windowMs }) =>
        scope === 'session' ||
        (!(scope === 'owner' && ownerHasOthers) &&
          (record.fromTheBeginning ||
            (windowMs !== null && one.at.getTime() - windowMs - windowMs / 64 >= record.knownFrom.getTime()))),
    }),
    countedBefore: (grant) => countedBefore(granted, grant),
    note: (one, call, what, at) => {
      const { session } = one;
      if (one.kind === 'grant' && what === 'asked') granted.push(one);
      const kinds = kindsOf(one, what);
      const foreign = session.agent !== record.agent;
      const reported =
        one.kind === 'call'
          ? reportedLabels(versionOf(one.manifestVersion, one.session.agent).compiled.manifest, one)
          : [];
      const seen = what === 'finished' ? withLabels(call, reported) : call;
      for (const tracker of compiledCalls(manifest).trackers) {
        const told = eventTold(tracker, seen, kinds);
        // What another agent's manifest makes of its calls is not the candidate's to say.
        const event = foreign ? { event: unsure(told.event), without: unsure(told.without) } : told;
        const moment = { now: at.getTime(), rootId: session.rootId };
        const cost = costNoted(one, call.cost, what);
        history.note(tracker, scopeOf(tracker, session), keysTold(tracker, call), event, cost, moment);
        // What else it touched was not kept.
        if (what === 'finished' && one.kind === 'call' && one.touchedMore && tracker.same.includes('entity'))
          history.note(tracker, scopeOf(tracker, session), anyKey, { event: null, without: null }, cost, moment);
      }
      if (one.kind !== 'call' || one.effect !== 'allow') return;
      const stuck = what === 'asked' ? call.facts.labels : reported;
      for (const label of stuck) labelsOf(session.rootId).add(label);
    },
  };
}

const anyKey: Keys = { names: [], loose: true, lacks: false, mayLack: false };

/** What a call really cost is known once it is over; what was counted before is somewhere between. */
function costNoted(one: Recorded, estimate: Cost, what: What): Cost {
  const reported = one.kind === 'call' ? one.reportedCostMicroUsd : null;
  if (reported === null) return estimate;
  if (what === 'finished') return { least: reported, most: reported };
  return { least: Math.min(estimate.least, reported), most: Math.max(estimate.most, reported) };
}

const unsure = (told: boolean | null): boolean | null => (told === false ? false : null);

function kindsOf(one: Recorded, what: What): EventKind[] {
  if (what === 'issued') return ['call'];
  if (what === 'finished') return one.kind === 'call' && isOutcome(one.outcome) ? [one.outcome] : [];
  if (one.kind === 'call') {
    const came: EventKind[] = one.effect === 'allow' ? ['call'] : one.effect === 'approve' ? [] : ['denied'];
    return one.agreed === null ? ['attempt', ...came] : came;
  }
  return passes(one.effect) ? ['attempt'] : ['attempt', 'denied'];
}

const isOutcome = (outcome: string | null): outcome is 'response' | 'error' =>
  outcome === 'response' || outcome === 'error';

/** Labels beyond those that the manifest of that time gave the tool. */
function reportedLabels(before: Manifest, call: RecordedCall): string[] {
  const own = toolOf(before, call.tool)?.labels ?? [];
  return call.labels.filter((label) => !own.includes(label));
}

const withLabels = (call: BoundedCall, reported: readonly string[]): BoundedCall => {
  const facts: CallFacts = { ...call.facts, labels: [...call.facts.labels, ...reported] };
  return { ...call, facts };
};

function countedBefore(earlier: readonly RecordedGrant[], grant: RecordedGrant): Counted {
  const tree = earlier.filter(({ session }) => session.rootId === grant.session.rootId);
  const own = tree.filter(({ session }) => session.id === grant.session.id);
  const counts = (all: readonly RecordedGrant[]) => {
    const asked = all.filter(({ effect }) => passes(effect));
    // A person's denial, and a mint that failed, give back what they took; when, the record does not say.
    const kept = asked.filter(({ status }) => status !== 'denied' && status !== 'failed');
    return { least: kept.length, most: asked.length };
  };
  const session = counts(own);
  return {
    // What was handed on to children counts as well.
    session: grant.session.hasChildren ? { ...session, most: Number.MAX_SAFE_INTEGER } : session,
    capability: counts(tree.filter(({ capability }) => capability === grant.capability)),
  };
}

function redecide(
  input: ReplayInput,
  follow: Follower,
  one: Recorded,
  call: BoundedCall,
): Redecided & { plan: string | null } {
  const { candidate, providers } = input;
  if (hasEnded(candidate.compiled.manifest, one))
    return {
      effects: [
        { effect: 'deny', reasons: [{ code: 'envelope_spent', advice: 'The session would have ended by then.' }] },
      ],
      unknown: [],
      plan: null,
    };
  const scene = follow.sceneOf(one, call);
  const before = input.versionOf(one.manifestVersion, one.session.agent);
  return one.kind === 'call'
    ? { ...redecideCall(before, candidate, one, scene), plan: null }
    : redecideGrant(providers, before, candidate, one, follow.countedBefore(one), scene);
}

/** Whether the candidate's envelope would have ended the session before. */
function hasEnded({ envelope, task_types }: Manifest, { session, at }: Recorded): boolean {
  const wallTime = Math.min(
    envelope.wall_time,
    member(task_types, session.task.task_type)?.envelope?.wall_time ?? Number.POSITIVE_INFINITY,
  );
  return at.getTime() > session.openedAt.getTime() + wallTime * 1000;
}

function givenByGlass({ candidate, versionOf }: ReplayInput, grant: RecordedGrant, glass: string): Difference {
  const { session, capability: name, effect, reasons } = grant;
  const before = versionOf(grant.manifestVersion, session.agent).compiled.manifest;
  return {
    kind: 'grant',
    id: grant.id,
    session: session.id,
    at: grant.at,
    name,
    was: { effect, reasons },
    now: { effects: [effect], reasons },
    because: [underCandidate(glass, before, candidate.compiled.manifest, name)],
  };
}

function differenceOf(
  one: Recorded,
  { effects, unknown, plan }: Redecided & { plan: string | null },
): { group: Group; difference: Difference } | null {
  const was = one.effect;
  const now = effects.map(({ effect }) => effect);
  const group = groupOf(was, now);
  if (group === null && plan === null) return null;
  const difference: Difference = {
    kind: one.kind,
    id: one.id,
    session: one.session.id,
    at: one.at,
    name: one.kind === 'call' ? one.tool : one.capability,
    was: { effect: was, reasons: one.reasons },
    now: { effects: now, reasons: effects.flatMap(({ reasons }) => reasons) },
    because: [...unknown, ...(plan === null ? [] : [plan])],
  };
  return { group: group ?? 'other_effect', difference };
}

/** Effects by which a credential is minted or a call is made, now or once a person agrees. */
const passes = (effect: string): boolean => effect === 'allow' || effect === 'approve';

function groupOf(was: string, now: readonly string[]): Group | null {
  const [only, ...more] = now;
  // Whichever of them it is: what was let through is not.
  if (passes(was) && only !== undefined && now.every((effect) => !passes(effect))) return 'newly_denied';
  if (only === undefined || more.length > 0) return 'undecidable';
  if (only === was) return null;
  return only === 'allow' && !passes(was) ? 'newly_allowed' : 'other_effect';
}
