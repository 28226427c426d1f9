/** The rules of one capability as Cedar policies: one permit, and the forbids that cut it down. */
import type { Expr, PolicyJson } from '@cedar-policy/cedar-wasm/nodejs';
import type { DecisionReason, Json } from '../core/vocabulary.ts';
import {
  allOf,
  atLeast,
  both,
  contains,
  either,
  equal,
  fact,
  greater,
  hasFact,
  less,
  literal,
  not,
  oneOf,
} from './cedar-expressions.ts';
import { canonicalText, entity } from './cedar-schema.ts';
import { compiledCalls, withheldCapability } from './compile-calls.ts';
import { type Capability, type Choice, type Manifest, member } from './manifest.ts';
import { hit, stands, unlessAllowed } from './standing-rules.ts';
import { isConstant, referencesOf } from './template.ts';

export interface PolicyAnnotations {
  id: string;
  reason: DecisionReason;
  path: string;
  advice: string;
  /** What it does besides denying; `approve`: a person's approval lifts it. */
  effect?: 'approve' | 'downgrade' | 'suspend' | 'terminate';
}

export interface Rule {
  id: string;
  effect: 'permit' | 'forbid';
  when: Expr;
  reason: DecisionReason;
  path: string;
  advice: string;
  /** What it does besides denying; `approve`: a person's approval lifts it. */
  also?: PolicyAnnotations['effect'];
}

/** The rules of a capability, in the order people read them. */
export function rulesOf(manifest: Manifest, name: string, capability: Capability): Rule[] {
  const rules: Rule[] = [
    {
      id: 'permit',
      effect: 'permit',
      when: both(
        oneOf(capability.tasks, fact('task_type')),
        both(
          equal(fact('owner'), literal(manifest.owner)),
          equal(fact('plan', 'provider'), literal(capability.provider)),
        ),
      ),
      reason: 'not_permitted',
      path: 'capability',
      advice: `Ask in a session of one of these task types: ${capability.tasks.join(', ')}.`,
    },
  ];
  const forbid = (id: string, when: Expr, reason: DecisionReason, path: string, advice: string) =>
    rules.push({ id, effect: 'forbid', when, reason, path, advice });

  for (const [param, value] of Object.entries(capability.params)) {
    const advice = `Leave ${param} out: the manifest fixes it to ${shown(value)}.`;
    forbid(
      `bound.${param}`,
      not(equal(fact('params', param), boundTo(param, value))),
      'param_not_bound_value',
      `params.${param}`,
      advice,
    );
  }
  for (const [param, choice] of Object.entries(capability.choose)) {
    const limits = choiceLimits(param, choice);
    if (limits === undefined) continue;
    forbid(`choose.${param}`, limits.outside, 'param_outside_choice', `params.${param}`, limits.advice);
  }
  forbid(
    'ttl',
    either(
      less(fact('plan', 'ttl_seconds'), literal(1)),
      greater(fact('plan', 'ttl_seconds'), literal(capability.max_ttl)),
    ),
    'ttl_too_long',
    'ttl_seconds',
    `Ask for at most ${capability.max_ttl} seconds.`,
  );
  forbid(
    'narrowed',
    both(fact('session', 'narrowed'), not(contains(fact('session', 'capabilities'), literal(name)))),
    'outside_session',
    'capability',
    'This session was opened without this capability: ask in its parent, or open a session that has it.',
  );
  const spent = 'The session has asked for as many grants as it may: open a session for a new task.';
  forbid(
    'session-grants',
    both(hasFact('session', 'grants_left'), atLeast(literal(0), fact('session', 'grants_left'))),
    'envelope_spent',
    '',
    spent,
  );
  const { max_grants } = manifest.envelope;
  if (max_grants !== undefined) {
    forbid('envelope', atLeast(fact('session', 'grants'), literal(max_grants)), 'envelope_spent', '', spent);
  }
  for (const task of capability.tasks) {
    const limit = member(manifest.task_types, task)?.envelope?.max_grants;
    if (limit === undefined) continue;
    const outside = both(equal(fact('task_type'), literal(task)), atLeast(fact('session', 'grants'), literal(limit)));
    forbid(`envelope.${task}`, outside, 'envelope_spent', '', spent);
  }
  if (capability.max_grants !== undefined) {
    forbid(
      'max-grants',
      atLeast(fact('session', 'capability_grants'), literal(capability.max_grants)),
      'capability_spent',
      'capability',
      `A session may ask for this capability ${capability.max_grants} times.`,
    );
  }
  if (capability.tier >= 2) {
    rules.push({
      id: 'approval',
      effect: 'forbid',
      when: both(atLeast(fact('tier'), literal(2)), not(fact('approved'))),
      reason: 'needs_approval',
      path: 'capability',
      advice: 'A person must approve it first.',
      also: 'approve',
    });
  }
  if (capability.delegate_only === true)
    forbid(
      'delegate-only',
      not(fact('session', 'narrowed')),
      'delegate_only',
      'capability',
      'Open a child session with it, for the sub-agent that needs it: this session may hand it on and not use it.',
    );
  forbid(
    'withheld',
    contains(fact('session', 'withheld'), literal(withheldCapability(name))),
    'withheld',
    'capability',
    'A rule of the manifest took it from this session; a person may give it back.',
  );
  const about = compiledCalls(manifest).rules.filter(
    ({ on }) => on.capabilities === null || on.capabilities.includes(name),
  );
  for (const rule of about.filter(stands)) {
    const { id, effect, reason, message } = rule;
    rules.push({
      id: `rule.${id}`,
      effect: 'forbid',
      when: effect === 'approve' ? allOf([hit(rule), not(fact('approved')), ...unlessAllowed(about)]) : hit(rule),
      reason,
      path: '',
      advice: message,
      ...(effect === 'deny' ? {} : { also: effect }),
    });
  }
  return rules;
}
/** A rule as Cedar's JSON policy, with its annotations. */
export function policyOf(manifest: Manifest, name: string, capability: Capability, rule: Rule): PolicyJson {
  return {
    effect: rule.effect,
    principal: { op: '==', entity: entity.agent(manifest.agent) },
    action: { op: '==', entity: entity.action(name) },
    // Forbids hold whatever the provider: narrowing their scope could only make them miss.
    resource: rule.effect === 'permit' ? { op: '==', entity: entity.provider(capability.provider) } : { op: 'All' },
    conditions: [{ kind: 'when', body: rule.when }],
    annotations: {
      id: rule.id,
      reason: rule.reason,
      path: rule.path,
      advice: rule.advice,
      ...(rule.also === undefined ? {} : { effect: rule.also }),
    },
  };
}

/**
 * What a parameter must equal: a constant stands in the policy itself; what depends on the task's inputs is a
 * fact, for Cedar cannot join texts.
 */
function boundTo(param: string, value: Json): Expr {
  if (!isConstant(value)) return fact('bound', param);
  return literal(isScalar(value) ? value : canonicalText(value));
}
function isScalar(value: Json): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'boolean' || Number.isSafeInteger(value);
}
function choiceLimits(param: string, choice: Choice): { outside: Expr; advice: string } | undefined {
  const value = fact('params', param);
  if (choice.type === 'integer') {
    return {
      outside: either(less(value, literal(choice.min)), greater(value, literal(choice.max))),
      advice: `${param} may be ${choice.min} to ${choice.max}.`,
    };
  }
  if (choice.type === 'string' && choice.enum !== undefined) {
    return { outside: not(oneOf(choice.enum, value)), advice: `${param} may be one of ${choice.enum.join(', ')}.` };
  }
  // Cedar has no regular expressions: the match is a fact that facts.ts computes.
  if (choice.type === 'string') {
    return { outside: not(fact('matches', param)), advice: `${param} must match ${choice.pattern}.` };
  }
  return undefined;
}
function shown(value: Json): string {
  const text = JSON.stringify(value);
  // Cut between characters: half of a surrogate pair is no text, and Cedar throws on it.
  const short = text.length > 200 ? `${[...text].slice(0, 200).join('')}…` : text;
  const from = typeof value === 'string' && referencesOf(value).inputs.length > 0 ? " with the task's inputs" : '';
  return `${short}${from}`;
}
