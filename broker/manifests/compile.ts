/**
 * Manifest → Cedar policies and schema. Each capability gets a policy set of its own (cost is linear in policies), made of one permit and the forbids
 * that cut it down; each policy explains itself by its annotations.
 *
 * Every policy: @id, @reason (stable code), @path (into the request), @advice (what would pass). @effect("approve") marks the forbid that a person's
 * approval lifts.
 */
import { createHash } from 'node:crypto';
import {
  type Expr,
  type Policy,
  type PolicyJson,
  policyToText,
  type SchemaJson,
  type Type,
  validate,
} from '@cedar-policy/cedar-wasm/nodejs';
import canonicalize from 'canonicalize';
import type { FieldFault } from '../errors.ts';
import type { Json } from '../vocabulary.ts';
import {
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
import { type Capability, type Choice, type Input, type Manifest, member } from './manifest.ts';
import type { Locate } from './parse.ts';
import { isConstant, referencesOf, wholeReference } from './template.ts';

/** Cedar has strings, 64-bit integers, booleans; everything else is compared as one canonical JSON string (`json`). */
export type ParamKind = 'string' | 'integer' | 'boolean' | 'json';

export interface PolicyAnnotations {
  id: string;
  reason: string;
  path: string;
  advice: string;
  effect?: 'approve';
}

export interface CompiledCapability {
  policies: { [policyId: string]: PolicyJson };
  schema: SchemaJson<string>;
  /** How each parameter is passed to Cedar. */
  kinds: { [param: string]: ParamKind };
}

/** A manifest as it is put in force: plain JSON, so it can be stored and read back. */
export interface CompiledManifest {
  format: 1;
  agent: string;
  /** Hex SHA-256 of the YAML exactly as published. */
  sha256: string;
  manifest: Manifest;
  capabilities: { [capability: string]: CompiledCapability };
  annotations: { [policyId: string]: PolicyAnnotations };
  /** All policies as Cedar text, for people and for diffs; never read back. */
  policiesText: string;
}

/** The entities of a request: agent, action and provider are named, none has attributes. Facts travel in the context. */
export const entity = {
  agent: (agent: string) => ({ type: 'Writ::Agent', id: agent }),
  action: (capability: string) => ({ type: 'Writ::Action', id: `grant:${capability}` }),
  provider: (provider: string) => ({ type: 'Writ::Provider', id: provider }),
};

/**
 * Compiles a checked manifest (`checkManifest` found nothing) and has Cedar validate it; any complaint of Cedar's refuses it, at the place of the
 * capability.
 */
export function compileManifest(
  manifest: Manifest,
  source: string,
  locate: Locate,
): { ok: true; compiled: CompiledManifest } | { ok: false; faults: FieldFault[] } {
  const compiled: CompiledManifest = {
    format: 1,
    agent: manifest.agent,
    sha256: createHash('sha256').update(source).digest('hex'),
    manifest,
    capabilities: {},
    annotations: {},
    policiesText: '',
  };
  const faults: FieldFault[] = [];
  const texts: string[] = [];
  for (const [name, capability] of Object.entries(manifest.capabilities)) {
    const part = compileCapability(manifest, name, capability);
    compiled.capabilities[name] = part;
    for (const [id, policy] of Object.entries(part.policies)) {
      compiled.annotations[id] = policy.annotations as unknown as PolicyAnnotations;
      texts.push(textOf(policy));
    }
    for (const message of complaintsOf(part)) {
      faults.push({ path: `capabilities.${name}`, message, ...locate(['capabilities', name]) });
    }
  }
  compiled.policiesText = texts.join('\n\n');
  return faults.length > 0 ? { ok: false, faults } : { ok: true, compiled };
}

/** What Cedar finds wrong with a set of policies under its schema. Its warnings (texts of mixed scripts, say) are not faults. */
export function complaintsOf(part: Pick<CompiledCapability, 'policies' | 'schema'>): string[] {
  const answer = validate({
    schema: part.schema,
    policies: { staticPolicies: part.policies },
    validationSettings: { mode: 'strict' },
  });
  if (answer.type === 'failure') return answer.errors.map(({ message }) => `Cedar: ${message}`);
  return answer.validationErrors.map(({ policyId, error }) => `Cedar on ${policyId}: ${error.message}`);
}

function compileCapability(manifest: Manifest, name: string, capability: Capability): CompiledCapability {
  const inputs = inputTypes(manifest, capability);
  const kinds: CompiledCapability['kinds'] = {};
  for (const [param, value] of Object.entries(capability.params)) kinds[param] = kindOf(value, inputs);
  for (const [param, choice] of Object.entries(capability.choose)) kinds[param] = choice.type;
  const policies: CompiledCapability['policies'] = {};
  for (const rule of rulesOf(manifest, name, capability)) {
    const id = `${name}.${rule.id}`;
    policies[id] = policyOf(manifest, name, capability, { ...rule, id });
  }
  return { policies, schema: schemaOf(name, capability, inputs, kinds), kinds };
}

interface Rule {
  id: string;
  effect: 'permit' | 'forbid';
  when: Expr;
  reason: string;
  path: string;
  advice: string;
  approvable?: boolean;
}

/** The rules of a capability, in the order people read them. */
function rulesOf(manifest: Manifest, name: string, capability: Capability): Rule[] {
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
  const forbid = (id: string, when: Expr, reason: string, path: string, advice: string) =>
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
    both(hasFact('session', 'max_grants'), atLeast(fact('session', 'grants'), fact('session', 'max_grants'))),
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
      approvable: true,
    });
  }
  return rules;
}

/**
 * What a parameter must equal: a constant stands in the policy itself; what depends on the task's inputs is a fact, for Cedar cannot join texts.
 */
function boundTo(param: string, value: Json): Expr {
  if (!isConstant(value)) return fact('bound', param);
  return literal(isScalar(value) ? value : canonicalText(value));
}

/** One text per JSON value (RFC 8785), so that Cedar can compare what it has no type for. */
export function canonicalText(value: Json): string {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('not a JSON value');
  return text;
}

function isScalar(value: Json): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'boolean' || Number.isSafeInteger(value);
}

/** The parameters that the task's inputs decide. */
export function inputBoundParams(capability: Capability): string[] {
  return Object.keys(capability.params).filter((param) => !isConstant(capability.params[param] as Json));
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

function policyOf(manifest: Manifest, name: string, capability: Capability, rule: Rule): PolicyJson {
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
      ...(rule.approvable ? { effect: 'approve' } : {}),
    },
  };
}

const CEDAR_TYPES: Record<ParamKind, Type<string>> = {
  string: { type: 'String' },
  integer: { type: 'Long' },
  boolean: { type: 'Boolean' },
  json: { type: 'String' },
};

type Attributes = { [name: string]: Type<string> & { required?: boolean } };
const record = (attributes: Attributes): Type<string> => ({ type: 'Record', attributes });
const String_ = { type: 'String' } as const;
const Long = { type: 'Long' } as const;
const Boolean_ = { type: 'Boolean' } as const;

function schemaOf(
  name: string,
  capability: Capability,
  inputs: Map<string, Input['type']>,
  kinds: CompiledCapability['kinds'],
): SchemaJson<string> {
  const typed = (params: Iterable<string>) =>
    record(Object.fromEntries([...params].map((param) => [param, CEDAR_TYPES[kinds[param] as ParamKind]])));
  const context = record({
    owner: String_,
    on_behalf_of: { ...String_, required: false },
    task_type: String_,
    // Task types differ in their inputs.
    inputs: record(
      Object.fromEntries([...inputs].map(([input, type]) => [input, { ...CEDAR_TYPES[type], required: false }])),
    ),
    params: typed(Object.keys(kinds)),
    bound: typed(inputBoundParams(capability)),
    matches: record(Object.fromEntries(patternChoices(capability).map(([param]) => [param, Boolean_]))),
    plan: record({ provider: String_, digest: String_, ttl_seconds: Long, revocability: String_ }),
    tier: Long,
    now: { type: 'Extension', name: 'datetime' },
    approved: Boolean_,
    session: record({
      narrowed: Boolean_,
      capabilities: { type: 'Set', element: String_ },
      grants: Long,
      capability_grants: Long,
      max_grants: { ...Long, required: false },
    }),
  });
  const appliesTo = { principalTypes: ['Agent'], resourceTypes: ['Provider'], context };
  return {
    Writ: { entityTypes: { Agent: {}, Provider: {} }, actions: { [entity.action(name).id]: { appliesTo } } },
  };
}

/** The choices that a pattern limits, with the pattern. */
export function patternChoices(capability: Capability): [param: string, pattern: string][] {
  return Object.entries(capability.choose).flatMap(([param, choice]): [string, string][] =>
    choice.type === 'string' && choice.pattern !== undefined ? [[param, choice.pattern]] : [],
  );
}

/** The inputs that the capability's task types have, by name. */
function inputTypes(manifest: Manifest, capability: Capability): Map<string, Input['type']> {
  const tasks = capability.tasks.map((task) => member(manifest.task_types, task)?.inputs ?? {});
  return new Map(tasks.flatMap((inputs) => Object.entries(inputs).map(([input, { type }]) => [input, type] as const)));
}

function kindOf(value: Json, inputs: Map<string, Input['type']>): ParamKind {
  if (typeof value === 'string') {
    const whole = wholeReference(value);
    return whole === undefined ? 'string' : (inputs.get(whole) ?? 'string');
  }
  if (typeof value === 'boolean') return 'boolean';
  return Number.isSafeInteger(value) ? 'integer' : 'json';
}

function shown(value: Json): string {
  const text = JSON.stringify(value);
  const from = typeof value === 'string' && referencesOf(value).inputs.length > 0 ? " with the task's inputs" : '';
  return `${text.length > 200 ? `${text.slice(0, 200)}…` : text}${from}`;
}

function textOf(policy: Policy): string {
  const answer = policyToText(policy);
  if (answer.type === 'failure') throw new Error('Cedar cannot write out a policy that it was given');
  return answer.text;
}
