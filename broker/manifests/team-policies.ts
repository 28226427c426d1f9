/**
 * The `cedar` section: policies in the team's own words, beside the manifest's. They only forbid: what is
 * permitted is the manifest's to say, so that none of them widens it. Each is parsed once, and what is in it
 * goes on as Cedar's JSON; its scope is made that of the one action whose policies it joins.
 */
import {
  type ActionConstraint,
  type PolicyJson,
  policySetTextToParts,
  policyToJson,
  type SchemaJson,
} from '@cedar-policy/cedar-wasm/nodejs';
import { contains, fact, literal } from './cedar-expressions.ts';
import type { PolicyAnnotations } from './cedar-rules.ts';
import { entity } from './cedar-schema.ts';
import type { Manifest } from './manifest.ts';
import { memoize } from './memoize.ts';

/** What an `@effect` may name. `flag` and `allow` deny nothing, so no policy that forbids can have them. */
const effects = ['deny', 'approve', 'downgrade', 'suspend', 'terminate'] as const;
type Effect = (typeof effects)[number];
const isEffect = (text: string): text is Effect => (effects as readonly string[]).includes(text);

export interface TeamPolicy {
  id: string;
  /** Line of the section's text in which it begins, from 1. */
  line: number;
  annotations: PolicyAnnotations;
  /** What it does besides denying: as a rule of the same effect does. */
  effect: Effect;
  /** `tool:NAME` and `capability:NAME` that a session loses by it. */
  withholds: readonly string[];
  /** Actions that it is about: `call:read`, `grant:deploy`; null = all of them. */
  actions: readonly string[] | null;
  json: PolicyJson;
}

export interface TeamFault {
  line: number;
  message: string;
}

/** Groups of actions that a policy may name: every tool, every capability. */
const groups = { calls: 'call:', grants: 'grant:' } as const;

/** What is read of the section, once for each manifest. */
export const teamPolicies: (manifest: Manifest) => { policies: TeamPolicy[]; faults: TeamFault[] } = memoize(read);

function read(manifest: Manifest): { policies: TeamPolicy[]; faults: TeamFault[] } {
  const source = manifest.cedar;
  if (source === undefined) return { policies: [], faults: [] };
  const faults: TeamFault[] = [];
  const lineAt = (offset: number) => Buffer.from(source).subarray(0, offset).toString().split('\n').length;
  const parts = policySetTextToParts(source);
  if (parts.type === 'failure')
    return {
      policies: [],
      faults: parts.errors.map(({ message, sourceLocations }) => ({
        line: lineAt(sourceLocations?.[0]?.start ?? 0),
        message: `${message}${sourceLocations?.[0]?.label ? `: ${sourceLocations[0].label}` : ''}`,
      })),
    };
  for (const template of parts.policy_templates)
    faults.push({ line: lineOf(source, template, 0).line, message: 'must be a policy, not a template' });
  const policies: TeamPolicy[] = [];
  let from = 0;
  for (const [index, text] of parts.policies.entries()) {
    const { line, next } = lineOf(source, text, from);
    from = next;
    const parsed = policyToJson(text);
    if (parsed.type === 'failure') {
      faults.push({ line, message: parsed.errors.map(({ message }) => message).join('; ') });
      continue;
    }
    const policy = teamPolicy(manifest, parsed.json, index, line);
    if (typeof policy === 'string') faults.push({ line, message: policy });
    else if (policies.some(({ id }) => id === policy.id))
      faults.push({ line, message: `has an id that is there twice` });
    else policies.push(policy);
  }
  return { policies, faults };
}

function lineOf(source: string, text: string, from: number): { line: number; next: number } {
  const at = Math.max(source.indexOf(text, from), 0);
  return { line: source.slice(0, at).split('\n').length, next: at + text.length };
}

/** @returns what is wrong with it, as a text */
function teamPolicy(manifest: Manifest, json: PolicyJson, index: number, line: number): TeamPolicy | string {
  if (json.effect !== 'forbid') return 'must forbid: what is permitted, the manifest itself says';
  const {
    id = `${index + 1}`,
    advice,
    effect = 'deny',
    withhold,
    ...unknown
  } = (json.annotations ?? {}) as {
    [name: string]: string;
  };
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(id)) return 'has an @id that is not of lower-case letters, digits and hyphens';
  if (!isEffect(effect)) return `has an @effect that is none of ${effects.join(', ')}`;
  const [stranger] = Object.keys(unknown);
  if (stranger !== undefined) return `has the annotation @${stranger}, which is not known here`;
  // JSON's numbers would be others than those that are written.
  if (!hasExactNumbers(json.conditions)) return 'has a number beyond 9007199254740991';
  const { principal } = json;
  const whoever = principal.op === 'All' || (principal.op === 'is' && !('in' in principal));
  if (!whoever && !(principal.op === '==' && 'entity' in principal && isAgent(principal.entity, manifest)))
    return `names a principal that is not Writ::Agent::"${manifest.agent}"`;
  const actions = actionsOf(json.action, manifest);
  if (typeof actions === 'string') return actions;
  if ((withhold === undefined) === (effect === 'downgrade'))
    return 'has @withhold without @effect("downgrade"), or the other way round: it names what is taken';
  const withholds = withheldBy(manifest, withhold);
  if (typeof withholds === 'string') return withholds;
  const annotations: PolicyAnnotations = {
    id: `cedar.${id}`,
    reason: 'team_policy',
    path: '',
    advice: advice ?? `The policy ${id} of the manifest stands against it.`,
    ...(effect === 'deny' ? {} : { effect }),
  };
  return { id, line, annotations, effect, withholds, actions, json };
}

/** @returns what of it is none of this manifest, as a text */
function withheldBy(manifest: Manifest, names = ''): string[] | string {
  const all = [
    ...Object.keys(manifest.tools ?? {}).map((name) => `tool:${name}`),
    ...Object.keys(manifest.capabilities).map((name) => `capability:${name}`),
  ];
  const named = names.split(/[\s,]+/).filter((name) => name !== '');
  const stranger = named.find((name) => !all.includes(name));
  if (stranger !== undefined)
    return `has @withhold of ${JSON.stringify(stranger)}: must be tool:NAME or capability:NAME`;
  return [...new Set(named)].sort();
}

/** What a person agrees to who agrees to a call that this policy has them asked about. */
export const agreedAs = (id: string): string => `cedar:${id}`;

/**
 * Of the policies that a decision names, the team's own of one effect.
 * @param reasons of the decision
 */
export const teamPoliciesAmong = (
  manifest: Manifest,
  reasons: readonly { policy_id?: string }[],
  effect: string,
): TeamPolicy[] =>
  teamPolicies(manifest).policies.filter(
    (policy) => policy.effect === effect && reasons.some(({ policy_id }) => policy_id?.endsWith(`.cedar.${policy.id}`)),
  );

function hasExactNumbers(part: unknown): boolean {
  if (typeof part === 'number') return Number.isSafeInteger(part);
  return typeof part !== 'object' || part === null || Object.values(part).every(hasExactNumbers);
}

type EntityJson = { type?: string; id?: string; __entity?: { type: string; id: string } };
const plainEntity = (one: EntityJson) => one.__entity ?? { type: one.type ?? '', id: one.id ?? '' };

function isAgent(one: EntityJson, { agent }: Manifest): boolean {
  const { type, id } = plainEntity(one);
  return type === 'Writ::Agent' && id === agent;
}

/** @returns names of actions, null for all, or what is wrong as a text */
function actionsOf(constraint: ActionConstraint, manifest: Manifest): string[] | null | string {
  if (constraint.op === 'All') return null;
  const named = 'entity' in constraint ? [constraint.entity] : 'entities' in constraint ? constraint.entities : [];
  const all = [
    ...Object.keys(manifest.tools ?? {}).map((name) => entity.call(name).id),
    ...Object.keys(manifest.capabilities).map((name) => entity.action(name).id),
  ];
  const found: string[] = [];
  for (const one of named as EntityJson[]) {
    const { type, id } = plainEntity(one);
    const prefix = constraint.op === 'in' && Object.hasOwn(groups, id) ? groups[id as keyof typeof groups] : undefined;
    const these = all.filter((action) => (prefix === undefined ? action === id : action.startsWith(prefix)));
    if (type !== 'Writ::Action' || (these.length === 0 && prefix === undefined))
      return `names the action ${type}::${JSON.stringify(id)}, which is none of this manifest`;
    found.push(...these);
  }
  return found;
}

const unlessAgreed = (id: string, action: { id: string }): PolicyJson['conditions'][number] => ({
  kind: 'unless',
  body: action.id.startsWith(groups.calls) ? contains(fact('approved'), literal(agreedAs(id))) : fact('approved'),
});

/** The team's policies about one action, to stand beside the manifest's own. */
export function teamPoliciesFor(
  manifest: Manifest,
  action: { type: string; id: string },
): { id: string; policy: PolicyJson; annotations: PolicyAnnotations }[] {
  return teamPolicies(manifest)
    .policies.filter(({ actions }) => actions === null || actions.includes(action.id))
    .map(({ id, effect, json, annotations }) => ({
      id: `cedar.${id}`,
      annotations,
      policy: {
        ...json,
        // A person's approval lifts it, as it lifts a rule.
        conditions: [...json.conditions, ...(effect === 'approve' ? [unlessAgreed(id, action)] : [])],
        principal: { op: '==', entity: entity.agent(manifest.agent) },
        action: { op: '==', entity: action },
        annotations: annotations as unknown as Record<string, string>,
      },
    }));
}

/** Schemas of single actions as one, with the groups that policies may name: for editors. */
export function joinSchemas(parts: readonly SchemaJson<string>[]): SchemaJson<string> {
  const spaces = parts.map((part) => part.Writ!);
  const actions = Object.assign({}, ...spaces.map((space) => space.actions)) as NonNullable<
    SchemaJson<string>['Writ']
  >['actions'];
  const grouped = Object.entries(actions).map(([name, action]) => {
    const group = Object.entries(groups).find(([, prefix]) => name.startsWith(prefix))?.[0];
    return [name, group === undefined ? action : { ...action, memberOf: [{ id: group }] }] as const;
  });
  return {
    Writ: {
      entityTypes: Object.assign({}, ...spaces.map((space) => space.entityTypes)),
      actions: { ...Object.fromEntries(Object.keys(groups).map((name) => [name, {}])), ...Object.fromEntries(grouped) },
    },
  };
}
