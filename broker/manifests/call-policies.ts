/** What a manifest says of the calls of one tool, as a Cedar policy set and schema. */
import type { Expr, PolicyJson, SchemaJson, Type } from '@cedar-policy/cedar-wasm/nodejs';
import type { DecisionReason } from '../core/vocabulary.ts';
import { callFactTypes } from './call-facts.ts';
import { allOf, contains, fact, literal, not, oneOf } from './cedar-expressions.ts';
import type { PolicyAnnotations } from './cedar-rules.ts';
import { entity } from './cedar-schema.ts';
import { type CompiledRule, compiledCalls, withheldTool } from './compile-calls.ts';
import { type Manifest, member } from './manifest.ts';
import { memoize } from './memoize.ts';
import { hit, stands, unlessAllowed } from './standing-rules.ts';
import { teamPoliciesFor } from './team-policies.ts';
import type { Argument, Tool } from './tool-schema.ts';

export interface CallPart {
  policies: { [policyId: string]: PolicyJson };
  schema: SchemaJson<string>;
  annotations: { [policyId: string]: PolicyAnnotations };
  /** Whether policies of the team's own are among them, which look at more facts. */
  asksTeam: boolean;
}

const texts: Type<string> = { type: 'Set', element: { type: 'String' } };

/** Facts of a call, as its policies see them. */
const contextType = {
  type: 'Record',
  attributes: {
    task_type: { type: 'String' },
    /** Ids of the rules whose conditions hold. */
    hits: texts,
    /** Ids of the rules about which a person was asked, and agreed. */
    approved: texts,
    /** What rules took from the session: `tool:NAME`, `capability:NAME`. */
    withheld: texts,
    /** Arguments that are not as the manifest says. */
    outside: texts,
    /** Whether it has arguments that the manifest does not take. */
    unexpected: { type: 'Boolean' },
  },
} as const satisfies Type<string>;

/** Name of every tool that the manifest does not list; no tool has it. */
export const anyOther = '';

/** @throws TypeError when the manifest does not list the tool, and it is not `anyOther` */
export function callPart(manifest: Manifest, tool: string): CallPart {
  const parts = partsOf(manifest);
  let part = parts.get(tool);
  if (part === undefined) {
    part = makePart(manifest, tool);
    parts.set(tool, part);
  }
  return part;
}

const partsOf = memoize((_manifest: Manifest) => new Map<string, CallPart>());

interface Written {
  id: string;
  effect: 'permit' | 'forbid';
  when: Expr;
  reason: DecisionReason;
  path: string;
  advice: string;
  also?: PolicyAnnotations['effect'];
}

function makePart(manifest: Manifest, name: string): CallPart {
  const policies: CallPart['policies'] = {};
  const annotations: CallPart['annotations'] = {};
  for (const { effect, when, also, ...notes } of writtenFor(manifest, name)) {
    const id = `${name}.${notes.id}`;
    annotations[id] = { ...notes, id, ...(also === undefined ? {} : { effect: also }) };
    policies[id] = {
      effect,
      principal: { op: '==', entity: entity.agent(manifest.agent) },
      action: { op: '==', entity: entity.call(name) },
      resource: { op: 'All' },
      conditions: [{ kind: 'when', body: when }],
      annotations: annotations[id] as unknown as Record<string, string>,
    };
  }
  const team = teamPoliciesFor(manifest, entity.call(name));
  for (const { id, policy, annotations: notes } of team) {
    policies[`${name}.${id}`] = policy;
    annotations[`${name}.${id}`] = notes;
  }
  const tool = member(manifest.tools ?? {}, name);
  const context: Type<string> = {
    ...contextType,
    attributes: { ...contextType.attributes, ...(tool === undefined ? {} : callFactTypes(manifest, tool)) },
  };
  const appliesTo = { principalTypes: ['Agent'], resourceTypes: ['Resource'], context };
  const schema = {
    Writ: { entityTypes: { Agent: {}, Resource: {} }, actions: { [entity.call(name).id]: { appliesTo } } },
  };
  return { policies, schema, annotations, asksTeam: team.length > 0 };
}

function writtenFor(manifest: Manifest, name: string): Written[] {
  const tool = member(manifest.tools ?? {}, name);
  if (tool !== undefined) return [...limitsOf(manifest, name, tool), ...rulesAbout(manifest, name)];
  if (name !== anyOther) throw new TypeError('the manifest has no such tool');
  return rulesAbout(manifest, name);
}

function limitsOf(manifest: Manifest, name: string, tool: Tool): Written[] {
  const tasks = tool.tasks ?? Object.keys(manifest.task_types);
  const forbid = { effect: 'forbid', reason: 'argument_outside' } as const;
  const written: Written[] = [
    {
      id: 'permit',
      effect: 'permit',
      when: oneOf(tasks, fact('task_type')),
      reason: 'not_permitted',
      path: 'action.name',
      advice: `Call it in a session of one of these task types: ${tasks.join(', ')}.`,
    },
    ...Object.entries(tool.args).map(([path, limit]) => ({
      ...forbid,
      id: `args.${path}`,
      when: contains(fact('outside'), literal(path)),
      path: `context.arguments.${path}`,
      advice: adviceOn(path, limit),
    })),
  ];
  written.push({
    effect: 'forbid',
    id: 'withheld',
    when: contains(fact('withheld'), literal(withheldTool(name))),
    reason: 'withheld',
    path: 'action.name',
    advice: 'A rule of the manifest took it from this session; a person may give it back.',
  });
  if (tool.no_other_args)
    written.push({
      ...forbid,
      id: 'args',
      when: fact('unexpected'),
      path: 'context.arguments',
      advice: `It takes ${Object.keys(tool.args).join(', ') || 'no arguments'} and nothing else.`,
    });
  return written;
}

const rulesAbout = (manifest: Manifest, name: string): Written[] => {
  const rules = compiledCalls(manifest).rules.filter((rule) => mayConcern(rule, name));
  return rules.filter(stands).map((rule) => ({
    id: `rule.${rule.id}`,
    effect: 'forbid',
    when:
      rule.effect === 'approve'
        ? allOf([hit(rule), not(contains(fact('approved'), literal(rule.id))), ...unlessAllowed(rules)])
        : hit(rule),
    reason: rule.reason,
    path: '',
    advice: rule.message,
    ...(rule.effect === 'deny' ? {} : { also: rule.effect }),
  }));
};

/** Whether a rule can be about calls of the tool, as far as that does not depend on the call. */
export const mayConcern = ({ on }: CompiledRule, tool: string): boolean => on.tools === null || on.tools.includes(tool);

function adviceOn(path: string, limit: Argument): string {
  if (typeof limit !== 'object') return `${path} must be ${JSON.stringify(limit)}${fromInputs(limit)}.`;
  const parts = [
    limit.equals === undefined ? [] : `be ${JSON.stringify(limit.equals)}${fromInputs(limit.equals)}`,
    limit.enum === undefined ? [] : `be one of ${limit.enum.slice(0, 20).map(String).join(', ')}`,
    limit.pattern === undefined ? [] : `match ${limit.pattern}`,
    limit.min === undefined ? [] : `be ${limit.min} at least`,
    limit.max === undefined ? [] : `be ${limit.max} at most`,
  ].flat();
  return `${path} must ${parts.join(' and ') || 'be a plain value'}${limit.optional ? ', or be left out' : ''}.`;
}

const fromInputs = (value: string | number | boolean) =>
  typeof value === 'string' && value.includes('${inputs.') ? ' with the task’s inputs' : '';
