/**
 * Two versions of a manifest, compared: each change in words, and whether the agent may do more by it. Pure.
 *
 * Errs towards wider: what cannot be told (one pattern in place of another, a member that is not known here)
 * counts as wider. Wider is meant call by call: on the same history, something passes that did not.
 */
import type { Json, JsonObject } from '../core/vocabulary.ts';
import { diffApproval, diffChallenge, diffExpires } from './diff-approval.ts';
import { diffCalls } from './diff-calls.ts';
import { type Change, change, diffLimits, diffNames, diffRecords, type Named, otherMembers } from './diff-change.ts';
import { compareLimits, isEqual, type Limits, limitsInWords, limitsOf, shown, type Verdict } from './diff-limits.ts';
import { diffRules } from './diff-rules.ts';
import type { Capability, Input, Manifest, TaskType } from './manifest.ts';

/** Whether a second person has to look: something passes that did not, or nobody can tell. */
export const isWidening = (changes: readonly Change[]): boolean =>
  changes.some(({ verdict }) => verdict === 'widens' || verdict === 'unknown');

/** @param before null = the agent had no manifest */
export function diffManifests(before: Manifest | null, after: Manifest): Change[] {
  if (before === null)
    return [
      change(
        'agent',
        'widens',
        `the agent ${after.agent} is new; its sessions may be opened for ${Object.keys(after.task_types).join(', ')}`,
      ),
      ...Object.entries(after.capabilities).map(([name, capability]) => added(name, capability)),
      ...Object.keys(after.tools ?? {}).map((name) => change(`tools.${name}`, 'widens', `may now call ${name}`)),
    ];
  return [
    ...(before.agent === after.agent
      ? []
      : [change('agent', 'unknown', `it is the manifest of ${after.agent}; before: of ${before.agent}`)]),
    ...(before.owner === after.owner
      ? []
      : [
          change(
            'owner',
            'widens',
            `${after.owner} answers for the agent and approves its requests; before: ${before.owner}`,
          ),
        ]),
    ...(before.description === after.description
      ? []
      : [change('description', 'neither', 'the description is another')]),
    ...diffApproval('approval', 'what it asks for', ownersOf(before), before.approval, ownersOf(after), after.approval),
    ...diffExpires('approval', 'what it asks for', before.approval?.expires, after.approval?.expires, secondsInWords),
    ...diffChallenge('approval', 'what it asks for', before.approval?.challenge, after.approval?.challenge),
    ...bounds('envelope', 'a session', { ...before.envelope, sleep: 0 }, { ...after.envelope, sleep: 0 }),
    ...diffSleep(before.envelope.sleep ?? 0, after.envelope.sleep ?? 0),
    ...diffRecords(before.task_types, after.task_types, {
      added: (name) => [change(`task_types.${name}`, 'widens', `sessions may now be opened for the task ${name}`)],
      removed: (name) =>
        change(`task_types.${name}`, 'narrows', `no session may be opened for the task ${name} any more`),
      changed: diffTaskType,
    }),
    ...diffRecords(before.capabilities, after.capabilities, {
      added: (name, capability) => [added(name, capability)],
      removed: (name) => change(`capabilities.${name}`, 'narrows', `may not ask for ${name} any more`),
      changed: (name, was, now) => diffCapability(name, was, now, [before, after]),
    }),
    ...diffCalls(before, after),
    ...diffRules(before, after),
    ...diffCedar(before.cedar, after.cedar),
    ...otherMembers('', before, after, sections),
  ];
}

/** Members of the manifest that are compared here; any other is `unknown` when it changes. */
const sections = [
  'apiVersion',
  'agent',
  'owner',
  'approval',
  'description',
  'envelope',
  'task_types',
  'capabilities',
  'tools',
  'classes',
  'egress',
  'rules',
  'separation_of_duties',
  // Canaries and packs are rules by now, and are compared as such.
  'canaries',
  'packs',
  'cedar',
];

/** Policies of the team's own only forbid. Of other ones in their place nobody can tell what they forbid. */
function diffCedar(before: string | undefined, after: string | undefined): Change[] {
  if (before === after) return [];
  if (before === undefined) return [change('cedar', 'narrows', 'policies of the team’s own were added, which forbid')];
  if (after === undefined) return [change('cedar', 'widens', 'the policies of the team’s own were removed')];
  return [change('cedar', 'unknown', 'the policies of the team’s own are others')];
}

/** Without a bound none sleeps. */
function diffSleep(before: number, after: number): Change[] {
  if (before === after) return [];
  const say = (seconds: number) =>
    seconds === 0 ? 'no session may sleep' : `until ${secondsInWords(seconds)} after it was opened`;
  return [
    change(
      'envelope.sleep',
      after > before ? 'widens' : 'narrows',
      `a session may sleep: now ${say(after)}; before: ${say(before)}`,
    ),
  ];
}

/** Numbers that bound: the larger the wider, and none is the widest. */
const units: { [name: string]: (value: number) => string } = {
  wall_time: secondsInWords,
  max_cost_usd: (value) => `$${value / 1e6}`,
  max_grants: (value) => `${value} grants`,
  max_calls: (value) => `${value} calls`,
};

function bounds(path: string, whose: string, before: object, after: object): Change[] {
  const names = Object.keys(units);
  const read = (of: object, name: string) => (of as Named<number | undefined>)[name];
  return [
    ...names.flatMap((name) => bound(`${path}.${name}`, whose, read(before, name), read(after, name), units[name]!)),
    ...otherMembers(path, before, after, names),
  ];
}

function bound(
  path: string,
  whose: string,
  before: number | undefined,
  after: number | undefined,
  words: (value: number) => string,
): Change[] {
  if (before === after) return [];
  const [was, now] = [before ?? Number.POSITIVE_INFINITY, after ?? Number.POSITIVE_INFINITY];
  const say = (value: number | undefined) => (value === undefined ? 'without a bound of its own' : words(value));
  return [
    change(path, now > was ? 'widens' : 'narrows', `${whose} may now have ${say(after)}; before: ${say(before)}`),
  ];
}

export function secondsInWords(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600}h`;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}

function diffTaskType(name: string, before: TaskType, after: TaskType): Change[] {
  const path = `task_types.${name}`;
  return [
    ...diffRecords<Input>(before.inputs, after.inputs, {
      added: (input) => [
        change(
          `${path}.inputs.${input}`,
          'unknown',
          `a session for ${name} now declares ${input}: whatever it is, it is trusted`,
        ),
      ],
      removed: (input) =>
        change(`${path}.inputs.${input}`, 'unknown', `a session for ${name} no longer declares ${input}`),
      changed: (input, was, now) =>
        diffLimits(`${path}.inputs.${input}`, `the input ${input} of ${name}`, limitsOf(was), limitsOf(now)),
    }),
    ...bounds(`${path}.envelope`, `a session for ${name}`, before.envelope ?? {}, after.envelope ?? {}),
    ...(before.description === after.description
      ? []
      : [change(`${path}.description`, 'neither', `the description of ${name} is another`)]),
    ...otherMembers(path, before, after, ['inputs', 'envelope', 'description']),
  ];
}

function added(name: string, capability: Capability): Change {
  const { provider, tier, tasks } = capability;
  const values = [
    ...Object.entries(capability.params).map(([param, value]) => `${param} ${shown(value)}`),
    ...Object.entries(capability.choose).map(([param, choice]) => `${param} ${limitsInWords(limitsOf(choice))}`),
  ];
  const consent = `${tier === 1 ? 'without asking a person' : 'when a person approves'}${
    capability.break_glass === true ? ', past rules when two people break the glass' : ''
  }`;
  return change(
    `capabilities.${name}`,
    'widens',
    `may now ask for ${name} in ${tasks.join(', ')}, ${consent}: ${[provider, ...values].join(', ')}`,
  );
}

const ownersOf = (manifest: Manifest, capability?: Capability): string[] => [
  ...new Set([manifest.owner, capability?.owner ?? manifest.owner]),
];

function diffCapability(
  name: string,
  before: Capability,
  after: Capability,
  [was, now]: readonly [Manifest, Manifest],
): Change[] {
  const path = `capabilities.${name}`;
  const at = (field: string, verdict: Verdict, text: string) => change(`${path}.${field}`, verdict, `${name}: ${text}`);
  const tiers = ['', 'policy alone decides', 'a person approves', 'a person approves with a passkey'];
  return [
    ...(before.provider === after.provider
      ? []
      : [at('provider', 'widens', `the provider is now ${after.provider}; before: ${before.provider}`)]),
    ...(before.owner === after.owner
      ? []
      : [
          at(
            'owner',
            'widens',
            `${after.owner ?? 'the agent’s owner alone'} may approve it; before: ${before.owner ?? 'the agent’s owner alone'}`,
          ),
        ]),
    ...diffNames(
      `${path}.tasks`,
      before.tasks,
      after.tasks,
      (task) => `${name} may now be asked for in ${task}`,
      (task) => `${name} may not be asked for in ${task} any more`,
    ),
    ...(before.tier === after.tier
      ? []
      : [
          at(
            'tier',
            after.tier < before.tier ? 'widens' : 'narrows',
            after.tier === 1
              ? 'approval by a person no longer needed'
              : `${tiers[after.tier]} now; before: ${tiers[before.tier]}`,
          ),
        ]),
    ...(isEqual(before.approval ?? null, after.approval ?? null)
      ? []
      : diffApproval(
          `${path}.approval`,
          name,
          ownersOf(was, before),
          { ...was.approval, ...before.approval },
          ownersOf(now, after),
          { ...now.approval, ...after.approval },
        )),
    ...diffExpires(
      `${path}.approval`,
      name,
      before.approval?.expires ?? was.approval?.expires,
      after.approval?.expires ?? now.approval?.expires,
      secondsInWords,
    ),
    ...diffChallenge(
      `${path}.approval`,
      name,
      before.approval?.challenge ?? was.approval?.challenge,
      after.approval?.challenge ?? now.approval?.challenge,
    ),
    ...(before.approval?.state === after.approval?.state
      ? []
      : [
          at(
            'approval.state',
            after.approval?.state === true ? 'narrows' : 'widens',
            after.approval?.state === true
              ? `what ${name} is about must be as its approver saw it`
              : `what ${name} is about may change after its approval`,
          ),
        ]),
    ...bound(`${path}.max_ttl`, `a credential of ${name}`, before.max_ttl, after.max_ttl, secondsInWords),
    ...bound(
      `${path}.max_grants`,
      `${name} in one session`,
      before.max_grants,
      after.max_grants,
      (value) => `${value} grants`,
    ),
    ...(before.delegate_only === after.delegate_only
      ? []
      : [
          after.delegate_only === true
            ? at('delegate_only', 'narrows', 'only sub-agents may ask for it now')
            : at('delegate_only', 'widens', 'a session may ask for it itself now; before: only sub-agents'),
        ]),
    ...(before.break_glass === after.break_glass
      ? []
      : [
          after.break_glass === true
            ? at('break_glass', 'widens', 'two people may break the glass for it now, past rules and approval')
            : at('break_glass', 'narrows', 'nobody may break the glass for it any more'),
        ]),
    ...((before.slack ?? 'link') === (after.slack ?? 'link')
      ? []
      : [
          after.slack === 'decide'
            ? at('slack', 'widens', 'may now be approved in Slack; before: on the page alone')
            : at('slack', 'narrows', 'is approved on the page alone now; before: in Slack too'),
        ]),
    ...diffParams(name, path, before, after),
    ...(before.description === after.description ? [] : [at('description', 'neither', 'the description is another')]),
    ...otherMembers(path, before, after, [
      'provider',
      'owner',
      'tasks',
      'tier',
      'approval',
      'max_ttl',
      'max_grants',
      'delegate_only',
      'break_glass',
      'slack',
      'params',
      'choose',
      'description',
      // A rule, and compared as one.
      'canary',
    ]),
  ];
}

/**
 * What the provider is given. A parameter that is left out is often the wider permission, and one that is
 * added may name another: of both nobody can tell here, where no provider is.
 */
function diffParams(name: string, path: string, before: Capability, after: Capability): Change[] {
  const [was, now] = [paramsOf(before), paramsOf(after)];
  const context = Object.entries(now)
    .filter(
      ([param, { limits }]) =>
        limits.equals !== undefined && isEqual(limits, was[param]?.limits) && typeof limits.equals !== 'object',
    )
    .map(([param, { limits }]) => `${param} ${shown(limits.equals!)}`)
    .slice(0, 4);
  const of = context.length === 0 ? '' : ` (${context.join(', ')})`;
  return diffRecords(was, now, {
    added: (param, { field, limits }) => [
      change(
        `${path}.${field}.${param}`,
        'unknown',
        `${name}: ${param} is now ${limitsInWords(limits)}; before: not given${of}`,
      ),
    ],
    removed: (param) =>
      change(
        `${path}.${was[param]!.field}.${param}`,
        'unknown',
        `${name}: ${param} is not given any more; before: ${limitsInWords(was[param]!.limits)}${of}`,
      ),
    changed: (param, one, other) => {
      const verdict = compareLimits(one.limits, other.limits);
      // What is fixed to another value is both: what it was is gone, and something else passes.
      const told = verdict === 'unknown' && other.limits.equals !== undefined ? 'widens' : verdict;
      if (told === 'neither') return [];
      return [
        change(`${path}.${other.field}.${param}`, told, `${paramInWords(name, param, other.limits, one.limits)}${of}`),
      ];
    },
  });
}

/**
 * `read-files may now write; before: read`, where what is done is one of a few words; of an object, its
 * members.
 */
function paramInWords(name: string, param: string, now: Limits, was: Limits): string {
  const verbs = (limits: Limits) => (limits.equals === undefined ? limits.enum : [limits.equals]);
  const [may, might] = [verbs(now), verbs(was)];
  if (param === 'access' && may !== undefined && might !== undefined)
    return `${name} may now ${may.join(', ')}; before: ${might.join(', ')}`;
  const [fixed, before] = [now.equals, was.equals];
  const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject(fixed) || !isObject(before))
    return `${name}: ${param} may now be ${limitsInWords(now)}; before: ${limitsInWords(was)}`;
  const [members, earlier] = [fixed as JsonObject, before as JsonObject];
  const say = (value: Json | undefined) => (value === undefined ? 'nothing' : shown(value));
  const changed = [...new Set([...Object.keys(members), ...Object.keys(earlier)])]
    .filter((key) => !isEqual(members[key], earlier[key]))
    .map((key) => `${key} ${say(members[key])} (before: ${say(earlier[key])})`);
  return `${name}: ${param} may now be ${changed.join(', ')}`;
}

function paramsOf({ params, choose }: Capability): Named<{ field: 'params' | 'choose'; limits: Limits }> {
  return Object.fromEntries([
    ...Object.entries(params).map(
      ([name, equals]) => [name, { field: 'params' as const, limits: { equals } }] as const,
    ),
    ...Object.entries(choose).map(
      ([name, choice]) => [name, { field: 'choose' as const, limits: limitsOf(choice) }] as const,
    ),
  ]);
}
