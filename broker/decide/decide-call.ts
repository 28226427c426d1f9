/**
 * The decision on one tool call: facts and the manifest in force → allow, deny, or ask a person, and what
 * becomes of the session by it. Cedar decides; that its answer can only err towards deny is `readAnswer`'s
 * care.
 */
import { type CedarValueJson, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs';
import type { Reason, Task } from '../core/vocabulary.ts';
import { checkTask } from '../manifests/bind.ts';
import { anyOther, callPart } from '../manifests/call-policies.ts';
import { entity } from '../manifests/cedar-schema.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { toolOf } from '../manifests/compile-calls.ts';
import { member } from '../manifests/manifest.ts';
import { agreedAs } from '../manifests/team-policies.ts';
import { type Answer, readAnswer } from './decide.ts';
import { type CallEffect, sessionEffect } from './effects.ts';
import { slotForCalls } from './policy-slots.ts';

/** What is known of a call when it is decided on. */
export interface CallDecisionFacts {
  agent: string;
  manifest_version: number;
  task: Task;
  tool: string;
  /** What it touches; null = the manifest does not say. */
  entity: string | null;
  /** Arguments that are not as the manifest says, and whether there are some that it does not take. */
  outside: readonly string[];
  unexpected: boolean;
  /** Ids of rules whose conditions hold. */
  hits: readonly string[];
  /** Of those that have a person asked, the ones about which a person agreed to this very call. */
  approved: readonly string[];
  /** What rules took from the session. */
  withheld: readonly string[];
  /** What a rule looks at and the call does not have. */
  missing: readonly { rule: string; path: string }[];
  /** A credential that Writ issued stands in its arguments. */
  holdsCredential?: boolean;
  /** Facts for the team's own policies; absent where there are none. */
  team?: { [name: string]: CedarValueJson };
}

export interface CallDecision {
  effect: CallEffect;
  reasons: Reason[];
  policy_ids: string[];
  manifest_version: number;
}

const adviceOnTools = 'Call a tool of the list that `GET /v1/tools` gives.';

/** Synchronous, without I/O; never throws: whatever goes wrong is a deny (invariant 1). */
export function decideCall(facts: CallDecisionFacts, compiled: CompiledManifest): CallDecision {
  try {
    return decideOrThrow(facts, compiled);
  } catch {
    return denied(facts, [{ code: 'facts_not_valid' }]);
  }
}

function decideOrThrow(facts: CallDecisionFacts, compiled: CompiledManifest): CallDecision {
  const { manifest } = compiled;
  if (facts.agent !== compiled.agent) return denied(facts, [{ code: 'agent_unknown' }]);
  const listed = toolOf(manifest, facts.tool) !== undefined;
  const faults: Reason[] = listed ? [] : [{ code: 'tool_unknown', path: 'action.name', advice: adviceOnTools }];
  const task = checkTask(manifest, facts.task.task_type, facts.task.inputs);
  for (const { path, message } of task.ok ? [] : task.faults)
    faults.push({
      code: 'task_not_valid',
      path,
      advice: `Open a session under the current manifest: ${path} ${message}.`,
    });
  if (facts.holdsCredential === true)
    faults.push({
      code: 'credential_in_arguments',
      path: 'context.arguments',
      advice: 'Leave credentials out of arguments; ask for a new one.',
    });
  for (const { rule, path } of facts.missing)
    faults.push({
      code: 'field_missing',
      policy_id: `${facts.tool}.rule.${rule}`,
      path,
      advice: `The rule ${rule} needs it.`,
    });
  const first = ask(facts, compiled);
  if (first.failed.length > 0) return refused(facts, compiled, faults, first);
  if (first.effect === 'allow')
    return faults.length === 0 ? decision(facts, 'allow', [], first.policyIds) : denied(facts, faults);
  if (faults.length > 0 || !first.liftable) return refused(facts, compiled, faults, first);
  // A person is asked where their yes is the only thing missing.
  const second = ask({ ...facts, approved: [...facts.hits, ...agreeable(facts, compiled, first)] }, compiled);
  if (second.effect !== 'allow') return refused(facts, compiled, [], second);
  return { ...refused(facts, compiled, [], first), effect: 'approve' };
}

const partFor = ({ tool }: CallDecisionFacts, { manifest }: CompiledManifest) => {
  const listed = toolOf(manifest, tool) === undefined ? anyOther : tool;
  return { name: listed, ...callPart(manifest, listed) };
};

function ask(facts: CallDecisionFacts, compiled: CompiledManifest): Answer {
  const part = partFor(facts, compiled);
  return readAnswer(
    statefulIsAuthorized({
      principal: entity.agent(facts.agent),
      action: entity.call(part.name),
      resource: entity.resource(facts.entity ?? facts.tool),
      entities: [],
      context: {
        task_type: facts.task.task_type,
        hits: [...facts.hits],
        approved: [...facts.approved],
        withheld: [...facts.withheld],
        outside: [...facts.outside],
        unexpected: facts.unexpected,
        ...facts.team,
      },
      preparsedPolicySetId: slotForCalls(compiled, part.name, part.policies),
    }),
    part,
  );
}

/** The team's own policies among those that matched, as a person agrees to them. */
const agreeable = (facts: CallDecisionFacts, compiled: CompiledManifest, { policyIds }: Answer): string[] => {
  const { annotations } = partFor(facts, compiled);
  return policyIds.flatMap((id) => {
    const note = member(annotations, id);
    return note?.reason === 'team_policy' ? [agreedAs(note.id.slice('cedar.'.length))] : [];
  });
};

function refused(facts: CallDecisionFacts, compiled: CompiledManifest, faults: Reason[], answer: Answer): CallDecision {
  const part = partFor(facts, compiled);
  // One that cannot be evaluated keeps none of the others from doing what it does to the session.
  if (answer.failed.length > 0) {
    const matched = answer.policyIds.map((id) => member(part.annotations, id));
    return decision(facts, sessionEffect(matched) ?? 'deny', [...faults, { code: 'policy_failed' }], answer.policyIds);
  }
  const ids = answer.policyIds.length > 0 || faults.length > 0 ? answer.policyIds : [`${part.name}.permit`];
  const notes = ids.map((id) => member(part.annotations, id));
  const reasons = ids.map((id, index): Reason => {
    const note = notes[index];
    if (note === undefined) return { code: 'policy_failed', policy_id: id };
    const path = note.path === '' ? {} : { path: note.path };
    return { code: note.reason, policy_id: id, ...path, advice: note.advice };
  });
  return decision(facts, sessionEffect(notes) ?? 'deny', [...faults, ...reasons], answer.policyIds);
}

const denied = (facts: CallDecisionFacts, reasons: Reason[]) => decision(facts, 'deny', reasons, []);

const decision = (
  { manifest_version }: CallDecisionFacts,
  effect: CallDecision['effect'],
  reasons: Reason[],
  policy_ids: string[],
): CallDecision => ({ effect, reasons, policy_ids, manifest_version });
