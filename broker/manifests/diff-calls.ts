/** Tools, classes and destinations under two versions of a manifest. Pure; see `diff.ts`. */

import { manifestWords } from './call-arguments.ts';
import { type Change, change, diffLimits, diffNames, diffRecords, otherMembers } from './diff-change.ts';
import { isEqual, limitsInWords, limitsOfArgument, type Verdict } from './diff-limits.ts';
import { usesOf } from './diff-rules.ts';
import { type Manifest, member } from './manifest.ts';
import type { Tool } from './tool-schema.ts';

export function diffCalls(before: Manifest, after: Manifest): Change[] {
  const uses = usesOf(before);
  return [
    ...diffRecords(before.tools ?? {}, after.tools ?? {}, {
      added: (name) => [change(`tools.${name}`, 'widens', `may now call ${name}`)],
      removed: (name) => change(`tools.${name}`, 'narrows', `may not call ${name} any more`),
      changed: (name, was, now) => [
        ...diffTasks(name, was, now, before, after),
        ...diffArguments(name, was, now),
        ...diffFacts(name, was, now, uses),
      ],
    }),
    ...diffClasses(before, after),
    ...diffEgress(before, after, uses),
    ...diffWords(before, after, uses),
  ];
}

function diffTasks(name: string, was: Tool, now: Tool, before: Manifest, after: Manifest): Change[] {
  const tasksOf = ({ tasks }: Tool, { task_types }: Manifest) => tasks ?? Object.keys(task_types);
  return diffNames(
    `tools.${name}.tasks`,
    tasksOf(was, before),
    // A task that is not there any more is told where it was removed.
    tasksOf(now, after),
    (task) => `${name} may now be called in ${task}`,
    (task) => `${name} may not be called in ${task} any more`,
  );
}

function diffArguments(name: string, was: Tool, now: Tool): Change[] {
  const path = `tools.${name}.args`;
  const [headsBefore, headsAfter] = [heads(was), heads(now)];
  const changes = diffRecords(was.args, now.args, {
    added: (arg, limit) => [
      was.no_other_args && !headsBefore.has(headOf(arg))
        ? change(`${path}.${arg}`, 'widens', `${name} may now be called with ${arg}`)
        : change(
            `${path}.${arg}`,
            'narrows',
            `${arg} of ${name} may now be ${limitsInWords(limitsOfArgument(limit))} only; before: any value`,
          ),
    ],
    removed: (arg) => {
      const limits = limitsOfArgument(was.args[arg]!);
      const text = `${arg} of ${name} was ${limitsInWords(limits)}`;
      if (!now.no_other_args || headsAfter.has(headOf(arg)))
        return change(`${path}.${arg}`, 'widens', `${text}; now: any value`);
      // It had to be there, and must not be there now.
      return change(`${path}.${arg}`, limits.optional === true ? 'narrows' : 'unknown', `${text}; now it is not taken`);
    },
    changed: (arg, one, other) =>
      diffLimits(`${path}.${arg}`, `${arg} of ${name}`, limitsOfArgument(one), limitsOfArgument(other)),
  });
  if (was.no_other_args && !now.no_other_args)
    changes.push(
      change(`tools.${name}.no_other_args`, 'widens', `${name} may now be called with arguments that are not listed`),
    );
  if (!was.no_other_args && now.no_other_args)
    changes.push(
      change(`tools.${name}.no_other_args`, 'narrows', `${name} takes no arguments but those that are listed`),
    );
  if (was.no_other_args && now.no_other_args)
    for (const head of headsAfter)
      if (!headsBefore.has(head) && !Object.keys(now.args).some((arg) => headOf(arg) === head))
        changes.push(change(`tools.${name}.destination`, 'widens', `${name} may now be called with ${head}`));
  return changes;
}

const headOf = (path: string): string => path.split('.')[0]!;
/** Arguments that are named, and so are taken where no other is. */
const heads = ({ args, destination }: Tool) => new Set([...Object.keys(args), ...destination].map(headOf));

type Uses = ReadonlySet<string>;

/**
 * What more of something means, that rules look at.
 * @param sign `+`: the more of it, the more the rules stand against
 */
function moreOf(uses: Uses, fact: string): Verdict {
  if (uses.has(`-${fact}`)) return 'unknown';
  return uses.has(`+${fact}`) ? 'narrows' : 'neither';
}
function lessOf(uses: Uses, fact: string): Verdict {
  if (uses.has(`+${fact}`)) return uses.has(`-${fact}`) ? 'unknown' : 'widens';
  return uses.has(`-${fact}`) ? 'narrows' : 'neither';
}
/** Which way it goes nobody can tell, where a rule looks at it at all. */
const otherThan = (uses: Uses, fact: string): Verdict => (uses.has(fact) ? 'unknown' : 'neither');

/** What a call touches may have labels of its own, and who writes to it must say what it is. */
const touches = (uses: Uses, was: Tool, now: Tool): Verdict =>
  was.writes || now.writes || uses.has('+label') || uses.has('-label') ? 'unknown' : otherThan(uses, 'entity');

/** What is known of a call by the manifest: rules alone look at it. */
function diffFacts(name: string, was: Tool, now: Tool, uses: Uses): Change[] {
  const path = `tools.${name}`;
  const at = (field: string, verdict: Verdict, text: string) => change(`${path}.${field}`, verdict, `${name} ${text}`);
  const plus = (all: readonly string[], others: readonly string[]) => all.filter((one) => !others.includes(one));
  const number = (field: 'sensitivity' | 'cost_usd', fact: string, words: (value: number) => string) =>
    was[field] === now[field]
      ? []
      : [
          at(
            field,
            now[field] > was[field] ? moreOf(uses, fact) : lessOf(uses, fact),
            `now ${words(now[field])}; before: ${words(was[field])}`,
          ),
        ];
  return [
    ...(was.entity === now.entity
      ? []
      : [
          at(
            'entity',
            touches(uses, was, now),
            `now touches ${now.entity ?? 'nothing that is named'}; before: ${was.entity ?? 'nothing that is named'}`,
          ),
        ]),
    ...(isEqual([...was.destination].sort(), [...now.destination].sort())
      ? []
      : [
          at(
            'destination',
            otherThan(uses, 'destination'),
            `now sends to ${now.destination.join(', ') || 'nowhere'}; before: ${was.destination.join(', ') || 'nowhere'}`,
          ),
        ]),
    ...number('sensitivity', 'sensitivity', (value) => `returns what is of sensitivity ${value}`),
    ...number('cost_usd', 'cost', (value) => `costs $${value / 1e6} where nobody reports it`),
    ...plus(now.labels, was.labels).map((label) =>
      at('labels', moreOf(uses, 'label'), `now labels the session ${label}`),
    ),
    ...plus(was.labels, now.labels).map((label) =>
      at('labels', lessOf(uses, 'label'), `does not label the session ${label} any more`),
    ),
    ...(was.output === now.output
      ? []
      : [
          at(
            'output',
            now.output === 'trusted' ? lessOf(uses, 'origin') : moreOf(uses, 'origin'),
            now.output === 'trusted'
              ? 'now returns what is trusted as a destination'
              : 'now returns what is not trusted',
          ),
        ]),
    ...plus(now.trusted_fields, was.trusted_fields).map((field) =>
      at('trusted_fields', lessOf(uses, 'origin'), `now returns a field that is trusted: ${field}`),
    ),
    ...plus(was.trusted_fields, now.trusted_fields).map((field) =>
      at('trusted_fields', moreOf(uses, 'origin'), `returns ${field}, which is not trusted any more`),
    ),
    ...(was.description === now.description ? [] : [at('description', 'neither', 'is described in other words')]),
    ...(was.writes === now.writes
      ? []
      : [
          now.writes
            ? at(
                'writes',
                uses.has('-label') ? 'unknown' : 'narrows',
                'now puts the session’s labels on what it touches',
              )
            : at('writes', 'widens', 'does not put the session’s labels on what it touches any more'),
        ]),
    // A canary is a rule, and is compared as one.
    ...otherMembers(path, was, now, [
      'canary',
      'writes',
      'description',
      'tasks',
      'args',
      'no_other_args',
      'entity',
      'destination',
      'sensitivity',
      'labels',
      'output',
      'trusted_fields',
      'cost_usd',
    ]),
  ];
}

/** A class is nothing by itself: what its members mean is told at the rules that speak of it. */
function diffClasses(before: Manifest, after: Manifest): Change[] {
  const members = ({ tools, capabilities }: NonNullable<Manifest['classes']>[string]) => [...tools, ...capabilities];
  return diffRecords(before.classes ?? {}, after.classes ?? {}, {
    added: (name, one) => [
      change(`classes.${name}`, 'neither', `the class ${name} is new: ${members(one).join(', ')}`),
    ],
    removed: (name) => change(`classes.${name}`, 'neither', `the class ${name} is gone`),
    changed: (name, was, now) => {
      const [old, members_] = [members(was), members(now)];
      const parts = [
        ...members_.filter((one) => !old.includes(one)).map((one) => `now has ${one}`),
        ...old.filter((one) => !members_.includes(one)).map((one) => `no longer has ${one}`),
      ];
      return [
        ...(parts.length === 0
          ? []
          : [change(`classes.${name}`, 'neither', `the class ${name} ${parts.join(', ')}: see the rules about it`)]),
        ...otherMembers(`classes.${name}`, was, now, ['tools', 'capabilities']),
      ];
    },
  });
}

const noEgress: NonNullable<Manifest['egress']> = { known: [], inputs: true, clearance: {} };

function diffEgress(before: Manifest, after: Manifest, uses: Uses): Change[] {
  const [was, now] = [before.egress ?? noEgress, after.egress ?? noEgress];
  const plus = (all: readonly string[], others: readonly string[]) => all.filter((one) => !others.includes(one));
  const sends = [...new Set([...Object.keys(was.clearance), ...Object.keys(now.clearance)])];
  return [
    ...plus(now.known, was.known).map((one) =>
      change('egress.known', lessOf(uses, 'unknown'), `${one} is now known: ${sendersOf(after)} may now go to ${one}`),
    ),
    ...plus(was.known, now.known).map((one) =>
      change('egress.known', moreOf(uses, 'unknown'), `${one} is not known any more`),
    ),
    ...(was.inputs === now.inputs
      ? []
      : [
          change(
            'egress.inputs',
            now.inputs ? lessOf(uses, 'unknown') : moreOf(uses, 'unknown'),
            now.inputs
              ? 'every input of the task is a known destination now'
              : 'inputs of the task are no known destinations any more',
          ),
        ]),
    ...sends.flatMap((name) => {
      const [old, cleared] = [member(was.clearance, name) ?? [], member(now.clearance, name) ?? []];
      return [
        ...plus(cleared, old).map((label) =>
          change('egress.clearance', lessOf(uses, 'uncleared'), `what is labelled ${label} may now go to ${name}`),
        ),
        ...plus(old, cleared).map((label) =>
          change(
            'egress.clearance',
            moreOf(uses, 'uncleared'),
            `what is labelled ${label} may not go to ${name} any more`,
          ),
        ),
      ];
    }),
    ...otherMembers('egress', was, now, ['known', 'inputs', 'clearance']),
  ];
}

/** Tools whose calls send somewhere, for the words. */
function sendersOf({ tools }: Manifest): string {
  const names = Object.entries(tools ?? {}).flatMap(([name, { destination }]) =>
    destination.length > 0 ? [name] : [],
  );
  return names.slice(0, 3).join(', ') || 'calls';
}

/**
 * Constants of a manifest are its author's words: where rules ask for origins, more of them is more trust.
 */
function diffWords(before: Manifest, after: Manifest, uses: Uses): Change[] {
  const [was, now] = [new Set(manifestWords(before)), new Set(manifestWords(after))];
  const more = [...now].filter((text) => !was.has(text));
  const fewer = [...was].filter((text) => !now.has(text));
  const told = (texts: string[], verdict: Verdict, text: string) =>
    texts.length === 0 || verdict === 'neither'
      ? []
      : [change('egress', verdict, `${text}: ${texts.slice(0, 5).join(', ')}`)];
  return [
    ...told(more, lessOf(uses, 'origin'), 'counts as said by the manifest now, wherever it comes from'),
    ...told(fewer, moreOf(uses, 'origin'), 'does not count as said by the manifest any more'),
  ];
}
