/**
 * What people are asked because of a call: whether it may be made, or whether a session goes on that a rule
 * froze or narrowed. And what they said.
 */
import { eventPayload } from '../audit/events.ts';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import { aboutCall, aboutSession, type CallPermission } from '../core/questions.ts';
import type { JsonObject, Reason } from '../core/vocabulary.ts';
import type { CallDecision } from '../decide/decide-call.ts';
import type { AsksPeople } from '../grants/ask-people.ts';
import { consentedBy } from '../grants/consent.ts';
import { callPlan, liftPlan, makeQuestion, type Question } from '../grants/question.ts';
import type { AskLimits } from '../grants/spare-people.ts';
import { timeToDecide, type WaitDeps } from '../grants/time-to-decide.ts';
import type { Seal } from '../keys/seal.ts';
import { approvalExpires, approvalTerms } from '../manifests/approval-terms.ts';
import { type CallFacts, compiledCalls, withheldCapability, withheldTool } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { agreedAs, teamPoliciesAmong } from '../manifests/team-policies.ts';
import type { SessionFacts, StoredQuestion } from '../sessions/authenticate.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Digest } from './cells.ts';
import type { Call } from './evaluate-call.ts';
import { shownArguments } from './shown-arguments.ts';

export interface AskDeps extends WaitDeps {
  store: Store;
  /** Of what rests in the database. */
  seal: Seal;
  digest: Digest;
  /** How long a person's yes to a call stands. */
  redemptionSeconds: number;
  /** How often people are asked; absent = whenever it takes one. */
  askLimits?: AskLimits;
  /** Names of the channels that tell people. */
  noticeChannels: readonly string[];
  /** Base of links. */
  publicUrl: string;
}

/** What is asked because of one request, whatever it asked for. */
export interface AskedBecause {
  /** Of the action or grant that it is about. */
  id: string;
  requestDigest: string;
  manifestVersion: number;
  now: Date;
}

/** What stood against a request, as people read it: rules, and policies of the team's own. */
const stoodAgainst = (manifest: Manifest, hits: readonly string[], reasons: readonly Reason[], effect: string) => [
  ...compiledCalls(manifest)
    .rules.filter((rule) => rule.effect === effect && hits.includes(rule.id))
    .map(({ id, message }) => ({ id, message })),
  ...teamPoliciesAmong(manifest, reasons, effect).map(({ id, annotations }) => ({
    id: agreedAs(id),
    message: annotations.advice,
  })),
];

/**
 * The question whether a call may be made.
 * @param shown arguments as they are kept @param origins where their values were seen before
 */
export async function questionAboutCall(
  deps: AskDeps,
  manifest: Manifest,
  session: SessionFacts,
  asked: Call,
  call: CallFacts,
  { hits, decision }: { hits: readonly string[]; decision: CallDecision },
  { shown, origins }: { shown: CallPermission['arguments']; origins: CallPermission['origins'] },
  because: AskedBecause,
): Promise<Question> {
  const id = newId('gnt', because.now);
  const asking = { capability: null, tier: false, rules: hits };
  const expiresSeconds = approvalExpires(manifest, asking);
  const permission: CallPermission = {
    tool: asked.tool,
    entity: call.entity,
    arguments: shown,
    origins,
    unknown_destinations: call.unknownDestinations.length,
    cost_micro_usd: call.costMicroUsd,
    rules: stoodAgainst(manifest, hits, decision.reasons, 'approve'),
  };
  return makeQuestion(deps.store, {
    id,
    session_id: session.id,
    agent: session.agent,
    capability: aboutCall(asked.tool),
    idempotency_key: because.id,
    request_digest: because.requestDigest,
    manifest_version: because.manifestVersion,
    plan: callPlan(permission, deps.redemptionSeconds),
    at: because.now,
    decide_by: timeToDecide(deps, manifest, { expiresSeconds, passkey: false }, session, because.now),
    sealed_arguments: await deps.seal.seal(JSON.stringify(asked.args), id),
    reasons: decision.reasons,
    approval: approvalTerms(manifest, asking),
    expires_seconds: expiresSeconds,
  });
}

/** What was taken from the tree by this request; nothing that was taken before. */
const tookBy = (
  manifest: Manifest,
  session: SessionFacts,
  hits: readonly string[],
  reasons: readonly Reason[],
): string[] => {
  const rules = compiledCalls(manifest).rules.filter((rule) => rule.effect === 'downgrade' && hits.includes(rule.id));
  const taken = [...rules, ...teamPoliciesAmong(manifest, reasons, 'downgrade')].flatMap(({ withholds }) => withholds);
  return [...new Set(taken)].filter((name) => !session.facts.withheld.includes(name));
};

/** The question whether a session that a rule froze or narrowed gets back what it had. */
async function questionAboutSession(
  deps: AskDeps,
  manifest: Manifest,
  session: SessionFacts,
  effect: 'suspend' | 'downgrade',
  {
    asked,
    args,
    hits,
    took,
    reasons,
  }: { asked: string; args: JsonObject; hits: readonly string[]; took: string[]; reasons: Reason[] },
  because: AskedBecause,
): Promise<Question> {
  const id = newId('gnt', because.now);
  const asking = { capability: null, tier: false, rules: [] };
  const expiresSeconds = approvalExpires(manifest, asking);
  const could = [
    ...Object.keys(manifest.tools ?? {}).map(withheldTool),
    ...Object.keys(manifest.capabilities).map(withheldCapability),
  ].filter((name) => !session.facts.withheld.includes(name));
  return makeQuestion(deps.store, {
    id,
    session_id: session.rootId,
    agent: session.agent,
    capability: aboutSession,
    idempotency_key: `lift:${because.id}`,
    request_digest: because.requestDigest,
    manifest_version: because.manifestVersion,
    plan: liftPlan(
      {
        because: effect,
        rules: stoodAgainst(manifest, hits, reasons, effect),
        asked,
        arguments: shownArguments(args, deps.digest),
        took,
        withhold: [],
        could,
      },
      deps.redemptionSeconds,
    ),
    at: because.now,
    decide_by: timeToDecide(deps, manifest, { expiresSeconds, passkey: false }, session, because.now),
    sealed_arguments: await deps.seal.seal(JSON.stringify(args), id),
    reasons,
    approval: approvalTerms(manifest, asking),
    expires_seconds: expiresSeconds,
  });
}

/**
 * What a rule did to the tree, and the question whether that is lifted; null where it did nothing.
 * @param about `asked`: the tool or capability that was asked for, `tool:NAME` or `capability:NAME`; `args`:
 *   with what
 */
export async function restraintBy(
  deps: AskDeps,
  manifest: Manifest,
  session: SessionFacts,
  effect: string,
  about: { asked: string; args: JsonObject; hits: readonly string[]; reasons: Reason[] },
  because: AskedBecause,
): Promise<AsksPeople | null> {
  const took = effect === 'downgrade' ? tookBy(manifest, session, about.hits, about.reasons) : [];
  if (effect !== 'suspend' && took.length === 0) return null;
  const kind = effect === 'suspend' ? 'suspend' : 'downgrade';
  const question = await questionAboutSession(deps, manifest, session, kind, { ...about, took }, because);
  const rules = stoodAgainst(manifest, about.hits, about.reasons, kind).map(({ id }) => id);
  const told = { asked: about.asked, rules, question: question.id };
  return {
    question,
    channels: deps.noticeChannels,
    restraint:
      kind === 'suspend'
        ? { type: 'session.suspended', payload: eventPayload('session.suspended', told) }
        : { type: 'session.narrowed', payload: eventPayload('session.narrowed', { ...told, withheld: took }) },
    took: kind === 'suspend' ? null : took,
  };
}

const waitingStatement: Statement = {
  name: 'actions_waiting',
  text: `SELECT count(*)::int AS waiting FROM grants WHERE session_id = $1::text AND ended_at IS NULL AND status = 'pending' AND capability LIKE 'tool:%'`,
};

/** Calls of a session that wait for a person. */
export async function countWaiting(store: Store, sessionId: string): Promise<number> {
  const [row] = await store.run<{ waiting: number }>(waitingStatement, [sessionId]);
  return row?.waiting ?? 0;
}

/** What came of a question about a call. */
export type Verdict =
  | { status: 'pending' }
  | { status: 'denied'; reasons: Reason[] }
  /** `rules`: those about which people were asked. */
  | { status: 'agreed'; rules: string[]; by: string[] };

/**
 * @param owner of the agent in the manifest that the question was put under, and in the one in force: an
 *   approval holds for the owner who was asked
 */
export function verdictOn(
  store: Store,
  question: StoredQuestion,
  session: SessionFacts,
  owner: { asked: string; inForce: string },
  now: Date,
): Verdict {
  const denied = (code: Reason['code']): Verdict => ({ status: 'denied', reasons: [{ code }] });
  const over = question.decide_by === null || question.decide_by <= now;
  if (question.status === 'pending') return over ? denied('timeout') : { status: 'pending' };
  if (question.status === 'denied') return { status: 'denied', reasons: question.decision.reasons ?? [] };
  if (question.status !== 'approved' || over) return denied('not_redeemed');
  if (owner.asked !== owner.inForce) return denied('owner_changed');
  try {
    const by = consentedBy(store, question, question.reviews, session, now);
    const { rules } = question.plan.permission as unknown as CallPermission;
    return { status: 'agreed', rules: rules.map(({ id }) => id), by };
  } catch (error) {
    // The row is not as people left it: the log has it (keys/row-proofs.ts).
    if (error instanceof WritError && error.code === 'not_approved') return denied('not_permitted');
    throw error;
  }
}
