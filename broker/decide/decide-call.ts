/**
 * The decision on one tool call: facts and the manifest in force → allow or deny, and whether the session
 * ends by it. Cedar decides; that its answer can only err towards deny is `readAnswer`'s care.
 */
import { type CedarValueJson, statefulIsAuthorized } from '@cedar-policy/cedar-wasm/nodejs';
import type { Reason, Task } from '../core/vocabulary.ts';
import { checkTask } from '../manifests/bind.ts';
import { anyOther, callPart } from '../manifests/call-policies.ts';
import { entity } from '../manifests/cedar-schema.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { toolOf } from '../manifests/compile-calls.ts';
import { member } from '../manifests/manifest.ts';
import { readAnswer } from './decide.ts';
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
  /** What a rule looks at and the call does not have. */
  missing: readonly { rule: string; path: string }[];
  /** Facts for the team's own policies; absent where there are none. */
  team?: { [name: string]: CedarValueJson };
}

export interface CallDecision {
  effect: 'allow' | 'deny' | 'terminate';
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
  for (const { rule, path } of facts.missing)
    faults.push({
      code: 'field_missing',
      policy_id: `${facts.tool}.rule.${rule}`,
      path,
      advice: `The rule ${rule} needs it.`,
    });
  const tool = listed ? facts.tool : anyOther;
  const part = callPart(manifest, tool);
  const answer = readAnswer(
    statefulIsAuthorized({
      principal: entity.agent(facts.agent),
      action: entity.call(tool),
      resource: entity.resource(facts.entity ?? facts.tool),
      entities: [],
      context: {
        task_type: facts.task.task_type,
        hits: [...facts.hits],
        outside: [...facts.outside],
        unexpected: facts.unexpected,
        ...facts.team,
      },
      preparsedPolicySetId: slotForCalls(compiled, tool, part.policies),
    }),
    part,
  );
  if (answer.failed.length > 0) return denied(facts, [...faults, { code: 'policy_failed' }]);
  if (answer.effect === 'allow')
    return faults.length === 0 ? decision(facts, 'allow', [], answer.policyIds) : denied(facts, faults);
  // A rule that ends the session ends it, whatever else is wrong with the call.
  const ids = answer.policyIds.length > 0 || faults.length > 0 ? answer.policyIds : [`${tool}.permit`];
  const notes = ids.map((id) => member(part.annotations, id));
  const effect = notes.some((note) => note?.effect === 'terminate') ? 'terminate' : 'deny';
  const reasons = ids.map((id, index): Reason => {
    const note = notes[index];
    if (note === undefined) return { code: 'policy_failed', policy_id: id };
    const path = note.path === '' ? {} : { path: note.path };
    return { code: note.reason, policy_id: id, ...path, advice: note.advice };
  });
  return decision(facts, effect, [...faults, ...reasons], answer.policyIds);
}

const denied = (facts: CallDecisionFacts, reasons: Reason[]) => decision(facts, 'deny', reasons, []);

const decision = (
  { manifest_version }: CallDecisionFacts,
  effect: CallDecision['effect'],
  reasons: Reason[],
  policy_ids: string[],
): CallDecision => ({ effect, reasons, policy_ids, manifest_version });
