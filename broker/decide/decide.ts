/**
 * The decision: typed facts and the manifest in force → allow, deny or approval needed. Cedar decides; this
 * file asks it and closes every way in which its answer could be misread. It knows no provider and holds no
 * credential.
 */
import { type AuthorizationAnswer, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs';
import type { ApprovalTerm, Reason, Tier } from '../core/vocabulary.ts';
import { approvalExpires, approvalTerms } from '../manifests/approval-terms.ts';
import { checkTask } from '../manifests/bind.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { member } from '../manifests/manifest.ts';
import { type SessionEffect, sessionEffect } from './effects.ts';
import { cedarRequest, type DecisionFacts } from './facts.ts';
import { slotFor } from './policy-slots.ts';
import { projectContext } from './project-context.ts';

export { loadPolicies } from './policy-slots.ts';

export interface Decision {
  effect: 'allow' | 'deny' | 'approve';
  tier: Tier;
  ttl_seconds: number;
  /** Empty for an allow, unless two people broke the glass for it. Their codes are closed: see the README. */
  reasons: Reason[];
  /** The policies that determined the effect. */
  policy_ids: string[];
  manifest_version: number;
  plan_digest: string;
  /** What a rule of the manifest does to the session, because it was asked for. */
  session_effect?: SessionEffect;
  /** Of `approve`: how many of whom must. Absent = one of the owners. */
  approval?: ApprovalTerm[];
  /** Of `approve`: how long the manifest has it wait. Absent = it says nothing of it. */
  expires_seconds?: number;
}

/**
 * Decides one request. Synchronous, without I/O; never throws: whatever goes wrong is a deny (invariant 1).
 * `approve` means that a person's approval is the only thing missing: the same request with `approved: true`
 * is allowed now.
 */
export function decide(facts: DecisionFacts, compiled: CompiledManifest): Decision {
  try {
    return decideOrThrow(facts, compiled);
  } catch {
    return denied(facts, compiled, [{ code: 'facts_not_valid' }]);
  }
}

function decideOrThrow(facts: DecisionFacts, compiled: CompiledManifest): Decision {
  if (facts.agent !== compiled.agent) return denied(facts, compiled, [{ code: 'agent_unknown' }]);
  const capability = member(compiled.manifest.capabilities, facts.capability);
  if (capability === undefined) {
    return denied(facts, compiled, [
      { code: 'capability_unknown', path: 'capability', advice: "Ask for a capability of the agent's manifest." },
    ]);
  }
  // The session may have been opened under an older version, whose task type had other inputs or looser
  // patterns.
  const task = checkTask(compiled.manifest, facts.task.task_type, facts.task.inputs);
  if (!task.ok) {
    return denied(
      facts,
      compiled,
      task.faults.map(({ path, message }) => ({
        code: 'task_not_valid',
        path,
        advice: `Open a session under the current manifest: ${path} ${message}.`,
      })),
    );
  }

  // The permit says the same; but other task types lack the inputs that the facts of this capability are made
  // from.
  if (!capability.tasks.includes(task.task.task_type))
    return denied(facts, compiled, reasonsOf(noMatch, compiled, facts.capability));

  const first = ask(facts, compiled);
  if (first.effect === 'allow') return decision(facts, compiled, 'allow', [], first.policyIds);
  const reasons = reasonsOf(first, compiled, facts.capability);
  if (!first.liftable) return denied(facts, compiled, reasons, first.policyIds);
  const second = ask({ ...facts, approved: true }, compiled);
  if (second.effect !== 'allow')
    return denied(facts, compiled, reasonsOf(second, compiled, facts.capability), second.policyIds);
  const asked = askedBy(facts.capability, first.policyIds);
  const terms = approvalTerms(compiled.manifest, asked);
  const expires = approvalExpires(compiled.manifest, asked);
  return {
    ...decision(facts, compiled, 'approve', reasons, [...first.policyIds, ...second.policyIds]),
    ...(terms === null ? {} : { approval: terms }),
    ...(expires === null ? {} : { expires_seconds: expires }),
  };
}

/** Whether the tier or rules have people asked, by the policies that did (`cedar-rules.ts` names them). */
function askedBy(capability: string, policyIds: readonly string[]) {
  const rule = `${capability}.rule.`;
  const rules = policyIds.filter((id) => id.startsWith(rule)).map((id) => id.slice(rule.length));
  return { capability, tier: policyIds.includes(`${capability}.approval`), rules };
}

/** Cedar's answer as it was read. */
export interface Answer {
  effect: 'allow' | 'deny';
  policyIds: string[];
  /** Policies whose evaluation failed. */
  failed: string[];
  /** Denied only by policies that an approval lifts. */
  liftable: boolean;
}

/** No permit and no forbid matched. */
const noMatch: Answer = { effect: 'deny', policyIds: [], failed: [], liftable: false };

function ask(facts: DecisionFacts, compiled: CompiledManifest): Answer {
  const request = cedarRequest(facts, compiled);
  const policies = member(compiled.capabilities, facts.capability)?.policies ?? {};
  const context = projectContext(request.context, policies);
  return cached(policies, JSON.stringify([request.resource, context]), () =>
    readAnswer(
      statefulIsAuthorized({ ...request, context, preparsedPolicySetId: slotFor(compiled, facts.capability) }),
      compiled,
    ),
  );
}

/**
 * Cedar is a pure function: the same policies, asked with the same facts, answer the same. An agent asks for
 * the same thing again and again in a task, so the answer to the very same question (every fact that any
 * policy looks at, to the letter) is kept. The cache is keyed by the policy object, so other policies never
 * share it; principal and action follow from the policies.
 */
function cached(policies: object, question: string, ask: () => Answer): Answer {
  let answers = memory.get(policies);
  if (answers === undefined) {
    answers = new Map();
    memory.set(policies, answers);
  }
  const known = answers.get(question);
  if (known !== undefined) return known;
  const answer = ask();
  // Not cached: a failure is Cedar's, so the next request evaluates again.
  if (answer.failed.length > 0) return answer;
  if (answers.size >= maxRemembered) answers.delete(answers.keys().next().value!);
  answers.set(question, answer);
  return answer;
}

const memory = new WeakMap<object, Map<string, Answer>>();
/** Per capability; a question is some hundred bytes. */
const maxRemembered = 500;

/**
 * Cedar's answer, read so that it can only err towards deny: a `failure` is a deny (unknown set, context of
 * the wrong type), and so is an allow with errors, for Cedar skips a forbid that it cannot evaluate.
 */
export function readAnswer(answer: AuthorizationAnswer, compiled: Pick<CompiledManifest, 'annotations'>): Answer {
  if (answer.type !== 'success') return { effect: 'deny', policyIds: [], failed: ['*'], liftable: false };
  const { decision, diagnostics } = answer.response;
  const policyIds = [...diagnostics.reason].sort();
  const failed = diagnostics.errors.map(({ policyId }) => policyId).sort();
  const liftable =
    failed.length === 0 &&
    policyIds.length > 0 &&
    policyIds.every((policyId) => member(compiled.annotations, policyId)?.effect === 'approve');
  return { effect: decision === 'allow' && failed.length === 0 ? 'allow' : 'deny', policyIds, failed, liftable };
}

function reasonsOf(answer: Answer, compiled: CompiledManifest, capability: string): Reason[] {
  if (answer.failed.length > 0) {
    return answer.failed.map((id) => ({ code: 'policy_failed', ...(id === '*' ? {} : { policy_id: id }) }));
  }
  // No forbid matched, and no permit: the permit's advice says what would pass.
  const ids = answer.policyIds.length > 0 ? answer.policyIds : [`${capability}.permit`];
  return ids.map((id) => {
    const notes = member(compiled.annotations, id);
    if (notes === undefined) return { code: 'policy_failed', policy_id: id };
    return {
      code: notes.reason,
      policy_id: id,
      ...(notes.path === '' ? {} : { path: notes.path }),
      advice: notes.advice,
    };
  });
}

function denied(
  facts: DecisionFacts,
  compiled: CompiledManifest,
  reasons: Reason[],
  policyIds: string[] = [],
): Decision {
  return decision(facts, compiled, 'deny', reasons, policyIds);
}

function decision(
  facts: DecisionFacts,
  compiled: CompiledManifest,
  effect: Decision['effect'],
  reasons: Reason[],
  policyIds: string[],
): Decision {
  const done = sessionEffect(policyIds.map((id) => member(compiled.annotations, id)));
  return {
    effect,
    // An unknown capability is refused: report it as the strictest tier.
    tier: member(compiled.manifest.capabilities, facts.capability)?.tier ?? 3,
    ttl_seconds: facts.plan.ttl_seconds,
    reasons,
    policy_ids: policyIds,
    manifest_version: facts.manifest_version,
    plan_digest: facts.plan.digest,
    ...(done === null ? {} : { session_effect: done }),
  };
}
