/**
 * What people are asked besides single credentials: whether a tool call may be made, whether what a rule took
 * from a session is given back, and whether several grants are given at once. A question is a row of
 * `grants`, so that it is told, shown, reviewed, expires and is proven as a grant is; nothing can be minted
 * from it.
 */
import type { EventName } from '../audit/events.ts';
import { duration } from '../core/duration.ts';
import {
  type BatchMember,
  type BatchPermission,
  batchProvider,
  type CallPermission,
  type LiftPermission,
  membersLeft,
} from '../core/questions.ts';
import type { ApprovalTerm, JsonObject, Plan, PlanDescription } from '../core/vocabulary.ts';
import { planDigest } from '../decide/plan-digest.ts';
import type { Store } from '../store/open.ts';
import { proveGrant } from './proven-grant.ts';
import { isOverOnRecord } from './transitions.ts';

export const callPlan = (permission: CallPermission, ttlSeconds: number): Plan => ({
  provider: 'call',
  permission: permission as unknown as JsonObject,
  ttl_seconds: ttlSeconds,
});

export const liftPlan = (permission: LiftPermission, ttlSeconds: number): Plan => ({
  provider: 'session',
  permission: permission as unknown as JsonObject,
  ttl_seconds: ttlSeconds,
});

/** @param members in the order in which they were asked for */
export const batchPlan = (members: BatchMember[]): Plan => ({
  provider: batchProvider,
  permission: { members, withhold: [] } satisfies BatchPermission as unknown as JsonObject,
  ttl_seconds: Math.max(...members.map(({ plan }) => plan.ttl_seconds)),
});

/** A question as it is written. Times as ISO 8601. */
export interface Question {
  id: string;
  session_id: string;
  agent: string;
  capability: string;
  /** Of the action that it is about: one question an action. */
  idempotency_key: string;
  request_digest: string;
  manifest_version: number;
  plan: Plan;
  plan_digest: string;
  tier: number;
  justification: string | null;
  at: Date;
  decide_by: Date;
  decision: JsonObject;
  sealed_arguments: string | null;
  proof: string;
}

/** Highest of the tiers: whoever may approve anything of this agent's. */
const highestTier = 3;

type Asked = Omit<Question, 'plan_digest' | 'proof' | 'decision' | 'tier' | 'justification'> &
  Partial<Pick<Question, 'tier' | 'justification'>> & {
    reasons: object[];
    approval: ApprovalTerm[] | null;
    expires_seconds: number | null;
  };

/** @returns the question with its digest and the proof that it was put like this */
export function makeQuestion(store: Store, asked: Asked): Question {
  const { reasons, approval, expires_seconds, tier = highestTier, justification = null, ...question } = asked;
  return {
    ...question,
    tier,
    justification,
    decision: {
      effect: 'approve',
      reasons,
      ...(approval === null ? {} : { approval }),
      ...(expires_seconds === null ? {} : { expires_seconds }),
    } as unknown as JsonObject,
    plan_digest: planDigest(question.plan),
    proof: proveGrant(store, {
      id: question.id,
      session_id: question.session_id,
      agent: question.agent,
      capability: question.capability,
      request_digest: question.request_digest,
      params: {},
      justification,
      credential_jwk: null,
      manifest_version: question.manifest_version,
      provider: question.plan.provider,
      plan: question.plan as unknown as JsonObject,
      tier,
      requested_at: question.at,
      approval,
    }),
  };
}

/**
 * → pending. Give it a RETURNING.
 * @param from relation with `question` (JSON of a `Question`; null = none)
 */
export const insertQuestion = (from: string): string => `
      INSERT INTO grants (id, session_id, agent, capability, idempotency_key, request_digest, params, justification, manifest_version, provider, plan, plan_digest, tier,
                          status, decision, requested_at, decide_by, sealed_arguments, proof)
      SELECT q.id, q.session_id, q.agent, q.capability, q.idempotency_key, q.request_digest, '{}', q.justification, q.manifest_version, q.plan ->> 'provider', q.plan, q.plan_digest, q.tier,
             'pending', q.decision, q.at, q.decide_by, q.sealed_arguments, q.proof
      FROM ${from} CROSS JOIN LATERAL json_to_record(${from}.question) AS q (id text, session_id text, agent text, capability text, idempotency_key text, request_digest text,
        justification text, manifest_version int, plan jsonb, plan_digest text, tier int, decision jsonb, at timestamptz, decide_by timestamptz, sealed_arguments text, proof text)
      WHERE ${from}.question IS NOT NULL`;

/**
 * approved → ended: the call that a person agreed to is made.
 * @param from relation with `consent_id` and `at`
 */
export const useConsent = (from: string): string => `
      UPDATE grants SET status = 'ended', ended_at = ${from}.at, sealed_arguments = NULL
      FROM ${from} WHERE grants.id = ${from}.consent_id`;

/**
 * SQL condition: the consent stands at this moment, and was never used. @param r alias with `consent_id`,
 * `session_id`, `at`
 */
export const consentStands = (r: string, usedBy: EventName): string => `
        EXISTS (SELECT 1 FROM grants g WHERE g.id = ${r}.consent_id AND g.session_id = ${r}.session_id AND g.status = 'approved' AND g.decide_by > ${r}.at
          AND NOT ${isOverOnRecord('g', usedBy)} FOR UPDATE)`;

/** What people read about it; null for the plan of a credential. */
export function describeQuestion({ provider, permission }: Plan): PlanDescription | null {
  if (provider === 'call') return describeCall(permission as unknown as CallPermission);
  if (provider === 'session') return describeLift(permission as unknown as LiftPermission);
  if (provider === batchProvider) return describeBatch(permission as unknown as BatchPermission);
  return null;
}

/** Each line says of which member it is: whoever shows the lines shows all that is asked for. */
function describeBatch(batch: BatchPermission): PlanDescription {
  const lines = batch.members.flatMap(({ grant, capability, plan, summary }, index) => {
    const which = `${index + 1}. ${capability}`;
    if (batch.withhold.includes(grant)) return [`${which}: was taken out, and is denied`];
    return [...summary.map((line) => `${which}: ${line}`), `${which}: for ${duration(plan.ttl_seconds)}`];
  });
  const left = membersLeft(batch);
  const ends = [...Map.groupBy(left, ({ revocability }) => revocability)].map(([text, of]) =>
    of.length === left.length ? text : `${of.map((one) => batch.members.indexOf(one) + 1).join(', ')}: ${text}`,
  );
  return { summary: lines, revocability: { kind: 'expiry', text: ends.join(' ') } };
}

function describeCall(call: CallPermission): PlanDescription {
  const untrusted = Object.entries(call.origins).filter(([, origin]) => origin === 'output of a tool');
  return {
    summary: [
      `Call the tool ${call.tool}${call.entity === null ? '' : ` on ${call.entity}`}, once, with exactly these arguments`,
      ...(call.unknown_destinations === 0 ? [] : ['It sends to a destination that nobody named before']),
      ...untrusted.map(([name]) => `The value of ${name} was first seen in what a tool returned`),
      ...call.rules.map(({ id, message }) => `The rule ${id} has a person asked: ${message}`),
      ...(call.cost_micro_usd === 0 ? [] : [`It costs about ${(call.cost_micro_usd / 1e6).toFixed(2)} US dollars`]),
    ],
    revocability: {
      kind: 'expiry',
      text: 'A call that was made cannot be taken back; one that was not made by then is not allowed any more.',
    },
  };
}

function describeLift({ because, rules, asked, withhold }: LiftPermission): PlanDescription {
  const back = because === 'suspend' ? 'Let the session go on' : 'Give the session back what a rule took';
  return {
    summary: [
      `${back}, after it asked for ${asked.replace(/^(tool|capability):/, 'the $1 ')}`,
      ...rules.map(({ id, message }) => `The rule ${id} stopped it: ${message}`),
      ...(withhold.length === 0 ? [] : [`It will still do without ${withhold.join(', ')}`]),
      'Credentials that it held stay revoked: it has to ask for new ones',
    ],
    revocability: { kind: 'immediate', text: 'An admin or its agent may end the session at any time.' },
  };
}
