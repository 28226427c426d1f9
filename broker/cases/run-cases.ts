/**
 * Runs cases through the real decisions: calls through `evaluateCall`, grants through `decide`, outcomes
 * through `finishCall`, with a history in memory. Pure, without a broker: a plan is not made, since policies
 * look at its provider and lifetime alone.
 */
import { callFacts, cellsFor, evaluateCall, grantFacts, hitsOnGrant, movesOfGrant } from '../actions/evaluate-call.ts';
import { wordsOf } from '../actions/origin.ts';
import {
  type Awaited,
  awaitedOutcome,
  countedAs,
  finishCall,
  type Outcome,
  reportedCells,
  wordCells,
  wordsSaid,
} from '../actions/outcome.ts';
import { returnedWords } from '../actions/returned-words.ts';
import type { CallSession } from '../actions/rules.ts';
import type { FieldFault } from '../core/errors.ts';
import { type NamedPerson, readUser, userText } from '../core/identifier.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { decide } from '../decide/decide.ts';
import { type DecisionFacts, withoutOwnShare } from '../decide/facts.ts';
import { planDigest } from '../decide/plan-digest.ts';
import { bindParams, checkTask } from '../manifests/bind.ts';
import type { ProviderShapes } from '../manifests/check.ts';
import type { CompiledManifest, PublishedManifest } from '../manifests/compile.ts';
import { compiledCalls, toolOf } from '../manifests/compile-calls.ts';
import { member } from '../manifests/manifest.ts';
import { readParams } from '../manifests/param-faults.ts';
import type { Locate } from '../manifests/parse.ts';
import type { Case, Cases, Expectation, SessionShape, Step } from './cases.ts';
import { emptyHistory, type History, type Whose } from './history.ts';
import { hasOutcome, ownSession } from './read-cases.ts';

export interface CaseResult {
  name: string;
  /** Line of the case in its file. */
  line: number;
  failures: Failure[];
}

/** A step that was decided otherwise than the case says; or why the case could not be run at all. */
export interface Failure {
  line: number;
  /** `step 2, send_mail`. */
  step: string;
  expected: string;
  decided: string;
  /** Each reason, in words. */
  why: string[];
}

export interface CasesInput {
  cases: Cases;
  locate: Locate;
  manifest: CompiledManifest;
  /** Manifests of other agents, by the name under which sessions ask for them. */
  others: { readonly [file: string]: CompiledManifest };
  /** What providers take; a capability of one that is not here is decided on without looking. */
  shapes: ProviderShapes;
}

/** Runs each case on a history of its own. Never throws for what cases hold. */
export function runCases(input: CasesInput): CaseResult[] {
  return input.cases.cases.map((one, index) => runCase(input, one, index));
}

/** Files of other agents' manifests that the sessions name. */
export function otherManifests({ session, cases }: Cases): string[] {
  const shapes = [session, ...cases.flatMap((one) => [one.session, ...Object.values(one.sessions ?? {})])];
  return [...new Set(shapes.flatMap((shape) => shape?.manifest ?? []))];
}

const begins = '2026-03-02T10:00:00Z';
/** As `grants/evaluate.ts` has it, in seconds. */
const defaultTtlSeconds = 900;
/** Values are compared by digests; here nobody hides them. */
const digest = (text: string): string => text;

interface Session extends Omit<CallSession, 'facts'>, Whose {
  facts: { withheld: readonly string[] };
  published: PublishedManifest;
  onBehalfOf: NamedPerson | null;
  narrowedTo: readonly string[] | null;
  maxGrants: number | null;
  grants: number;
  address: string | null;
}

/** A call that may still be reported. */
interface OpenCall {
  session: Session;
  tool: string;
  costMicroUsd: number;
  askedAt: Date;
  awaited: readonly Awaited[];
}

interface World {
  input: CasesInput;
  history: History;
  sessions: Map<string, Session>;
  calls: Map<string, OpenCall>;
  /** Grants by root and capability. */
  capabilityGrants: Map<string, number>;
  /** What a rule made of a root, as the reason of whatever is asked for in it. */
  over: Map<string, 'session_ended' | 'session_suspended'>;
  /** Rules that a person was asked about, by call. */
  asked: Map<string, readonly string[]>;
}

/** What was decided on a step. */
interface Decided {
  effect: string;
  reasons: readonly { code: string; policy_id?: string; path?: string; advice?: string }[];
  /** Ids of the rules that hold. */
  hits: readonly string[];
}

function runCase(input: CasesInput, one: Case, index: number): CaseResult {
  const line = (path: (string | number)[]) => input.locate(['cases', index, ...path]).line;
  const result: CaseResult = { name: one.name, line: line([]), failures: [] };
  let now = Date.parse(one.at ?? begins);
  const world: World = {
    input,
    history: emptyHistory(),
    sessions: new Map(),
    calls: new Map(),
    capabilityGrants: new Map(),
    over: new Map(),
    asked: new Map(),
  };
  const names = [
    ...(one.steps.some((step) => step.in === undefined) ? [ownSession] : []),
    ...Object.keys(one.sessions ?? {}),
  ];
  for (const name of names) {
    const faults = openSession(world, one, name, now);
    const path = name === ownSession ? ['session'] : ['sessions', name];
    if (faults.length > 0)
      result.failures.push({
        line: line(path),
        step: `session ${name}`,
        expected: 'a session that can be opened',
        decided: 'refused',
        why: faults.map((fault) => `${fault.path} ${fault.message}`),
      });
  }
  if (result.failures.length > 0) return result;

  for (const [at, step] of one.steps.entries()) {
    now += (step.wait ?? 0) * 1000;
    const session = world.sessions.get(step.in ?? ownSession)!;
    const decided = doStep(world, session, step, new Date(now));
    if (decided === null) continue;
    const failure = unlike(step.expect ?? 'allow', decided, session.published.compiled, step);
    if (failure !== null)
      result.failures.push({
        line: line(['steps', at]),
        step: `step ${at + 1}, ${step.call ?? step.grant ?? 'report'}`,
        expected: failure,
        decided: inWords(decided),
        why: decided.reasons.map(reasonText),
      });
  }
  return result;
}

function openSession(world: World, one: Case, name: string, now: number): FieldFault[] {
  const shapeOf = (of: string): SessionShape => ({
    ...world.input.cases.session,
    ...(of === ownSession ? one.session : one.sessions?.[of]),
  });
  const shape = shapeOf(name);
  let root = name;
  for (let parent = shape.parent; parent !== undefined; parent = shapeOf(parent).parent) root = parent;
  const compiled = shape.manifest === undefined ? world.input.manifest : world.input.others[shape.manifest];
  if (compiled === undefined) return [{ path: 'manifest', message: `${shape.manifest} is not there` }];
  const task = checkTask(compiled.manifest, shape.task_type, shape.inputs);
  if (!task.ok) return task.faults;
  const vouched = shape.on_behalf_of === undefined ? null : readUser(shape.on_behalf_of);
  const { agent, sha256, manifest } = compiled;
  world.sessions.set(name, {
    agent,
    rootId: root,
    task: task.task,
    rootOpenedAt: new Date(now - (shapeOf(root).open_for ?? 0) * 1000),
    onBehalfOf: vouched,
    declaredOnBehalfOf: shape.declared_on_behalf_of ?? null,
    principalRoot: vouched === null ? agent : `${agent} for ${userText(vouched)}`,
    owner: manifest.owner,
    published: { agent, version: 1, sha256, compiled },
    attested: (shape.attested ?? null) as JsonObject | null,
    facts: { withheld: [] },
    address: shape.address ?? null,
    narrowedTo: shape.capabilities ?? null,
    maxGrants: shape.max_grants ?? null,
    grants: 0,
  });
  return [];
}

/** @returns what was decided; null where nothing is */
function doStep(world: World, session: Session, step: Step, now: Date): Decided | null {
  if (step.call !== undefined) return askedInTime(world, session, () => call(world, session, step, step.call!, now));
  if (step.grant !== undefined) return askedInTime(world, session, () => grant(world, session, step, step.grant!, now));
  if (step.said !== undefined) {
    const { words } = wordsOf(step.said, 1);
    world.history.write(session, wordsSaid(words, world.history.read(session, wordCells(words, digest)), digest));
  }
  if (step.report !== undefined) return report(world, step, step.report, now);
  return null;
}

/** Nothing is decided for a session that has ended or is suspended, nor for those of its tree. */
function askedInTime(world: World, session: Session, ask: () => Decided): Decided {
  const { rootId } = session;
  const over = world.over.get(rootId);
  if (over !== undefined) return { effect: 'deny', reasons: [{ code: over }], hits: [] };
  const decided = ask();
  if (decided.effect === 'terminate') world.over.set(rootId, 'session_ended');
  if (decided.effect === 'suspend') world.over.set(rootId, 'session_suspended');
  if (decided.effect === 'downgrade') takeFrom(world, session, decided);
  return decided;
}

/** The tree loses what the rules that narrow it name. */
function takeFrom({ sessions }: World, { rootId, published }: Session, { hits }: Decided): void {
  const { rules } = compiledCalls(published.compiled.manifest);
  const taken = rules.flatMap((rule) => (rule.effect === 'downgrade' && hits.includes(rule.id) ? rule.withholds : []));
  for (const one of sessions.values())
    if (one.rootId === rootId) one.facts = { withheld: [...new Set([...one.facts.withheld, ...taken])] };
}

function call(world: World, session: Session, step: Step, tool: string, now: Date): Decided {
  const { history } = world;
  const { manifest } = session.published.compiled;
  const costMicroUsd = step.cost_usd === undefined ? null : Math.round(step.cost_usd * 1e6);
  const asked = { tool, args: (step.args ?? {}) as JsonObject, costMicroUsd, address: session.address };
  const facts = callFacts(manifest, session.task, asked);
  const cells = history.read(session, cellsFor(manifest, session.task, facts, digest));
  const key = JSON.stringify([session.rootId, tool, asked.args]);
  const consent = step.approved === true ? (world.asked.get(key) ?? null) : null;
  if (step.approved === true && consent === null)
    return { effect: 'deny', reasons: [{ code: 'not_asked', advice: 'Nobody was asked about this call.' }], hits: [] };
  const decided = evaluateCall(session.published, session, asked, facts, cells, now, digest, consent);
  const { decision, hits, writes } = decided;
  history.write(session, writes);
  if (decision.effect === 'approve') world.asked.set(key, hits);
  else world.asked.delete(key);
  if (decision.effect === 'allow') {
    const awaited = awaitedOutcome(manifest, facts, digest, countedAs(consent !== null));
    const open = { session, tool, costMicroUsd: facts.costMicroUsd, askedAt: now, awaited };
    if (step.id !== undefined) world.calls.set(step.id, open);
    if (hasOutcome(step)) finish(world, open, step, now);
  }
  return { effect: decision.effect, reasons: decision.reasons, hits };
}

/** A call that was not allowed has no outcome: reporting one is a mistake of the case. */
function report(world: World, step: Step, id: string, now: Date): Decided | null {
  const open = world.calls.get(id);
  if (open === undefined)
    return { effect: 'deny', reasons: [{ code: 'conflict', advice: `The call ${id} was not allowed.` }], hits: [] };
  world.calls.delete(id);
  finish(world, open, step, now);
  return null;
}

function finish(world: World, { session, ...called }: OpenCall, step: Step, now: Date): void {
  const { tool, awaited } = called;
  const { manifest } = session.published.compiled;
  const looks = compiledCalls(manifest).looksAtOrigin;
  const returned = { output: step.output ?? null, truncated: false, structured: step.structured ?? null };
  const words = looks
    ? returnedWords(returned, toolOf(manifest, tool))
    : { words: [], moreWords: false, vouchedWords: [] };
  const outcome: Outcome = {
    outcome: step.outcome ?? 'response',
    labels: step.labels ?? [],
    costMicroUsd: step.real_cost_usd === undefined ? null : Math.round(step.real_cost_usd * 1e6),
    entities: step.entities ?? [],
    ...words,
  };
  const finished = { ...called, rootId: session.rootId };
  const cells = world.history.read(session, [...reportedCells(manifest, finished, outcome, digest), ...awaited]);
  world.history.write(session, finishCall(manifest, finished, outcome, cells, now, digest));
}

function grant(world: World, session: Session, step: Step, name: string, now: Date): Decided {
  const { history, input } = world;
  const { compiled } = session.published;
  const { manifest } = compiled;
  const capability = member(manifest.capabilities, name);
  if (capability === undefined)
    return malformed([{ path: 'capability', message: 'is not a capability of this agent' }]);
  const bound = bindParams(capability, session.task, step.params);
  if (!bound.ok) return malformed(bound.faults);
  const shape = member(input.shapes, capability.provider);
  const read = shape === undefined ? undefined : readParams(shape.params, bound.params);
  if (read?.ok === false) return malformed(read.faults);

  const action = grantFacts(manifest, name, bound.params, session.address);
  const cells = history.read(session, cellsFor(manifest, session.task, action, digest));
  const approved = step.approved === true;
  const hits = hitsOnGrant(manifest, session, action, cells, now, digest, approved);
  const ttl = Math.min(step.ttl ?? defaultTtlSeconds, capability.max_ttl);
  const tree = JSON.stringify([session.rootId, name]);
  const asked = world.capabilityGrants.get(tree) ?? 0;
  // One that is collected was counted when it was asked for.
  const counted = approved ? 1 : 0;
  const counts: DecisionFacts['session'] = {
    narrowed: session.narrowedTo !== null,
    capabilities: [...(session.narrowedTo ?? [])],
    withheld: [...session.facts.withheld],
    grants: session.grants + counted,
    capability_grants: asked + counted,
    ...(session.maxGrants === null ? {} : { grants_left: session.maxGrants - session.grants - counted }),
  };
  const decision = decide(
    {
      agent: session.agent,
      owner: manifest.owner,
      manifest_version: session.published.version,
      task: session.task,
      ...(session.onBehalfOf === null ? {} : { on_behalf_of: userText(session.onBehalfOf) }),
      capability: name,
      params: bound.params,
      plan: planOf(capability.provider, bound.params, ttl),
      now,
      approved,
      hits,
      session: approved ? withoutOwnShare(counts) : counts,
    },
    compiled,
  );
  const effect = decision.session_effect ?? decision.effect;
  const kinds =
    decision.effect === 'allow'
      ? (['attempt', 'call'] as const)
      : decision.effect === 'approve'
        ? (['attempt'] as const)
        : (['attempt', 'denied'] as const);
  history.write(
    session,
    movesOfGrant(manifest, session, action, approved ? kinds.slice(1) : kinds, cells, now, digest),
  );
  if (decision.effect !== 'deny' && !approved) {
    session.grants += 1;
    world.capabilityGrants.set(tree, asked + 1);
  }
  return { effect, reasons: decision.reasons, hits };
}

function planOf(provider: string, permission: JsonObject, ttl_seconds: number): DecisionFacts['plan'] {
  const plan = { provider, permission, ttl_seconds };
  return { provider, digest: planDigest(plan), ttl_seconds, revocability: 'immediate' };
}

const malformed = (faults: readonly FieldFault[]): Decided => ({
  effect: 'deny',
  reasons: faults.map(({ path, message }) => ({ code: 'bad_request', path, advice: message })),
  hits: [],
});

/** Which of the expectation does not hold, as the whole of it in words; null = all does. */
function unlike(
  expected: Expectation,
  decided: Decided,
  compiled: CompiledManifest,
  { call: tool, grant: name }: Step,
): string | null {
  const { effect, rule, reason, path, flagged } = typeof expected === 'string' ? { effect: expected } : expected;
  const { rules } = compiledCalls(compiled.manifest);
  const policies = new Set(decided.reasons.map(({ policy_id }) => policy_id));
  const decidedBy = rules.filter(({ id }) => policies.has(`${tool ?? name}.rule.${id}`) || policies.has(`.rule.${id}`));
  const isBy = (id: string) =>
    decidedBy.some(
      (one) => one.id === id || (one.reason === 'separation_of_duties' && one.id.replace(/\.\d+$/, '') === id),
    );
  const flags = rules.filter((one) => one.effect === 'flag' && decided.hits.includes(one.id)).map(({ id }) => id);
  const holds =
    decided.effect === effect &&
    listOf(rule).every(isBy) &&
    listOf(reason).every((code) => decided.reasons.some((one) => one.code === code)) &&
    listOf(path).every((where) => decided.reasons.some((one) => one.path === where)) &&
    (flagged === undefined || sameMembers(listOf(flagged), flags));
  if (holds) return null;
  const parts = [
    ...listOf(rule).map((id) => `by the rule ${id}`),
    ...listOf(reason).map((code) => `for ${code}`),
    ...listOf(path).map((where) => `at ${where}`),
    ...(flagged === undefined ? [] : [`flagged by ${listOf(flagged).join(', ') || 'no rule'}`]),
  ];
  return [effect, ...parts].join(' ');
}

const listOf = <T>(value: T | readonly T[] | undefined): readonly T[] =>
  value === undefined ? [] : Array.isArray(value) ? (value as readonly T[]) : [value as T];

const sameMembers = (one: readonly string[], other: readonly string[]) =>
  one.length === other.length && one.every((value) => other.includes(value));

const inWords = ({ effect, hits }: Decided) =>
  hits.length === 0 ? effect : `${effect}; rules that hold: ${hits.join(', ')}`;

const reasonText = ({ code, policy_id, path, advice }: Decided['reasons'][number]) =>
  [
    code,
    ...(policy_id === undefined ? [] : [`(${policy_id})`]),
    ...(path ? [`at ${path}`] : []),
    ...(advice === undefined ? [] : [`– ${advice}`]),
  ].join(' ');
