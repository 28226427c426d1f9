/** What the schema cannot say of the sections about tool calls: that names are known and patterns compile. */

import { didYouMean } from '../core/field-words.ts';
import type { Approval } from './approval-schema.ts';
import { entityReferences } from './call-arguments.ts';
import { expandPack } from './include-packs.ts';
import { type Manifest, member } from './manifest.ts';
import { type Path, pathText } from './parse.ts';
import { patternFault } from './pattern.ts';
import { referencesOf } from './template.ts';
import type { Clause, Duty, EventSelector, Rule, Scope, Selector } from './tool-schema.ts';

type Report = (path: Path, message: string) => void;

/** Reports every fault of `tools`, `classes`, `egress`, `rules` and `separation_of_duties`. */
export function checkCalls(manifest: Manifest, report: Report): void {
  const tools = manifest.tools ?? {};
  for (const [name, tool] of Object.entries(tools)) {
    const path = ['tools', name];
    checkTasks(manifest, tool.tasks, [...path, 'tasks'], report);
    const tasks = tool.tasks ?? Object.keys(manifest.task_types);
    for (const [arg, limit] of Object.entries(tool.args)) {
      const at = [...path, 'args', arg];
      if (typeof limit !== 'object') checkInputs(manifest, tasks, limit, at, report);
      else {
        if (limit.pattern !== undefined) checkPattern(limit.pattern, [...at, 'pattern'], report);
        if (limit.equals !== undefined) checkInputs(manifest, tasks, limit.equals, [...at, 'equals'], report);
        for (const [index, value] of (limit.enum ?? []).entries())
          checkInputs(manifest, tasks, value, [...at, 'enum', index], report);
        if (limit.min !== undefined && limit.max !== undefined && limit.min > limit.max)
          report([...at, 'min'], 'must not be greater than max');
      }
    }
    if (tool.writes && tool.entity === undefined)
      report([...path, 'writes'], 'needs `entity`, which says what is written');
    if (tool.entity !== undefined && entityReferences(tool.entity).length === 0)
      report([...path, 'entity'], `names no argument, such as \${args.id}: every call would touch the same`);
  }
  for (const [name, { tools: listed, capabilities }] of Object.entries(manifest.classes ?? {})) {
    for (const [index, tool] of listed.entries())
      if (member(tools, tool) === undefined) report(['classes', name, 'tools', index], notOne('tool', tool, tools));
    for (const [index, capability] of capabilities.entries())
      if (member(manifest.capabilities, capability) === undefined)
        report(['classes', name, 'capabilities', index], notOne('capability', capability, manifest.capabilities));
  }
  for (const [index, known] of (manifest.egress?.known ?? []).entries())
    checkInputs(manifest, [], known, ['egress', 'known', index], report);
  const ids = new Set<string>();
  const once = (id: string, path: Path) => {
    if (ids.has(id)) report([...path, 'id'], 'is there twice');
    ids.add(id);
  };
  for (const [index, canary] of (manifest.canaries ?? []).entries()) once(canary.id, ['canaries', index]);
  for (const [index, rule] of (manifest.rules ?? []).entries()) {
    once(rule.id, ['rules', index]);
    checkRule(manifest, rule, ['rules', index], report);
  }
  for (const [index, duty] of (manifest.separation_of_duties ?? []).entries()) {
    once(duty.id, ['separation_of_duties', index]);
    checkDuty(manifest, duty, ['separation_of_duties', index], report);
  }
  const included = new Set<string>();
  for (const [index, one] of (manifest.packs ?? []).entries()) {
    const { name, rules, duties, strangers } = expandPack(one);
    const path = ['packs', index];
    if (included.has(name)) report(path, `includes ${name}, which is there twice`);
    included.add(name);
    for (const id of strangers) report(path, `${name} has no rule ${id}`);
    // The admin wrote none of it: what is wrong is told of what was bound.
    const inPack: Report = (at, message) => report(path, `${pathText(at)} ${message}`);
    for (const rule of rules) checkRule(manifest, rule, [rule.id], inPack);
    for (const duty of duties) checkDuty(manifest, duty, [duty.id], inPack);
  }
}

function checkRule(manifest: Manifest, rule: Rule, path: Path, report: Report): void {
  const on = rule.on === '*' ? {} : rule.on;
  checkSelector(manifest, on, [...path, 'on'], report);
  const clauses = rule.when === undefined ? [] : Array.isArray(rule.when) ? rule.when : [rule.when];
  for (const [at, clause] of clauses.entries())
    checkClause(
      manifest,
      clause,
      { on, scope: rule.scope },
      Array.isArray(rule.when) ? [...path, 'when', at] : [...path, 'when'],
      report,
    );
  if (rule.unless !== undefined)
    checkClause(manifest, rule.unless, { on, scope: rule.scope }, [...path, 'unless'], report);
  if (rule.when === undefined && rule.on === '*') report(path, 'holds for every call: say `when`');
  checkWithheld(manifest, rule, path, report);
  if (rule.approval !== undefined && rule.effect !== 'approve')
    report([...path, 'approval'], 'is for the effect approve');
  checkApproval(rule.approval, [...path, 'approval'], report);
}

/** What could never be met is a standing denial by another name. */
export function checkApproval(approval: Approval | undefined, path: Path, report: Report): void {
  const { from = [], quorum = 1 } = approval ?? {};
  for (const [index, name] of from.entries())
    if (from.indexOf(name) !== index) report([...path, 'from', index], 'is there twice');
  if (from.length > 0 && from.every((name) => name.startsWith('user:')) && from.length < quorum)
    report([...path, 'quorum'], `must not be more than the ${from.length} people of from`);
}

function checkDuty(manifest: Manifest, duty: Duty, path: Path, report: Report): void {
  checkWithin(duty.within, duty.scope, [...path, 'within'], report);
  for (const [at, selector] of duty.duties.entries()) {
    checkSelector(manifest, selector, [...path, 'duties', at], report);
    checkCorrelation(manifest, duty.same, selector, [...path, 'duties', at], report);
  }
}

function checkWithheld(manifest: Manifest, { effect, withhold }: Rule, path: Path, report: Report): void {
  const at = [...path, 'withhold'];
  if (effect !== 'downgrade') {
    if (withhold !== undefined) report(at, 'is for the effect downgrade');
    return;
  }
  const { tools = [], capabilities = [], classes = [] } = withhold ?? {};
  if (tools.length + capabilities.length + classes.length === 0)
    report(at, 'must name what the session loses: tools, capabilities or classes');
  const known: [string[], object, string, string][] = [
    [tools, manifest.tools ?? {}, 'tools', 'tool'],
    [capabilities, manifest.capabilities, 'capabilities', 'capability'],
    [classes, manifest.classes ?? {}, 'classes', 'class'],
  ];
  for (const [names, record, list, word] of known)
    for (const [index, name] of names.entries())
      if (member(record as { [name: string]: unknown }, name) === undefined)
        report([...at, list, index], notOne(word, name, record));
}

function checkClause(
  manifest: Manifest,
  clause: Clause,
  { on, scope }: { on: Selector; scope: Scope },
  path: Path,
  report: Report,
): void {
  checkTasks(manifest, clause.task_types, [...path, 'task_types'], report);
  for (const [arg, pattern] of Object.entries(clause.match ?? {}))
    checkPattern(pattern, [...path, 'match', arg], report);
  if (clause.hours !== undefined && !isZone(clause.hours.zone))
    report([...path, 'hours', 'zone'], 'is not a time zone, such as Europe/Berlin');
  const { formerly, since, count, sum, rate } = clause;
  for (const [name, one] of Object.entries({ formerly, since, count, sum }))
    if (one !== undefined) checkWithin(one.within, scope, [...path, name, 'within'], report);
  const events: [EventSelector | undefined, readonly string[], Path][] = [
    [formerly, formerly?.same ?? [], ['formerly']],
    [since?.event, since?.same ?? [], ['since', 'event']],
    [since?.without, since?.same ?? [], ['since', 'without']],
    [count?.of, count?.same ?? [], ['count', 'of']],
    [sum?.of, sum?.same ?? [], ['sum', 'of']],
    [rate?.of, rate?.same ?? [], ['rate', 'of']],
  ];
  for (const [event, same, below] of events) {
    if (event !== undefined) {
      checkSelector(manifest, event, [...path, ...below], report);
      checkCorrelation(manifest, same, event, [...path, ...below], report);
    }
    if (event !== undefined || below.length === 2) checkCorrelation(manifest, same, on, [...path, below[0]!], report);
  }
}

/** Beyond the session there is history from before it began. */
function checkWithin(within: number | 'session', scope: Scope, path: Path, report: Report): void {
  if (within === 'session' && scope !== 'session')
    report(path, `must be a time such as 30d: the scope ${scope} is more than the session`);
}

function checkSelector(manifest: Manifest, selector: Selector | EventSelector, path: Path, report: Report): void {
  const each = (value: string | string[] | undefined) =>
    value === undefined
      ? []
      : Array.isArray(value)
        ? value.map((one, index) => [one, [index]] as const)
        : [[value, []] as const];
  for (const [tool, below] of each(selector.tool))
    if (member(manifest.tools ?? {}, tool) === undefined)
      report([...path, 'tool', ...below], notOne('tool', tool, manifest.tools ?? {}));
  for (const [name, below] of each(selector.class))
    if (member(manifest.classes ?? {}, name) === undefined)
      report([...path, 'class', ...below], notOne('class', name, manifest.classes ?? {}));
  for (const [name, below] of each(selector.capability))
    if (member(manifest.capabilities, name) === undefined)
      report([...path, 'capability', ...below], notOne('capability', name, manifest.capabilities));
  for (const [arg, pattern] of Object.entries(selector.match ?? {}))
    checkPattern(pattern, [...path, 'match', arg], report);
}

/** Each tool that is meant has what it is to be compared by. */
function checkCorrelation(
  manifest: Manifest,
  same: readonly string[],
  selector: Selector | EventSelector,
  path: Path,
  report: Report,
): void {
  const list = (value: string | string[] | undefined) => (value === undefined ? [] : [value].flat());
  const named = [
    ...list(selector.tool),
    ...list(selector.class).flatMap((name) => member(manifest.classes ?? {}, name)?.tools ?? []),
  ];
  const all = selector.tool === undefined && selector.class === undefined && selector.capability === undefined;
  for (const name of new Set(all ? Object.keys(manifest.tools ?? {}) : named)) {
    const tool = member(manifest.tools ?? {}, name);
    if (tool === undefined) continue;
    if (same.includes('entity') && tool.entity === undefined)
      report(path, `compares by entity, and the tool ${name} has none`);
    if (same.includes('destination') && tool.destination.length === 0)
      report(path, `compares by destination, and the tool ${name} has none`);
  }
  const granted = [
    ...list(selector.capability),
    ...list(selector.class).flatMap((name) => member(manifest.classes ?? {}, name)?.capabilities ?? []),
  ];
  for (const name of new Set(granted)) {
    const capability = member(manifest.capabilities, name);
    if (capability === undefined) continue;
    const params = [...Object.keys(capability.params), ...Object.keys(capability.choose)];
    const missing = same.filter(
      (by) => !by.startsWith('arg:') || !params.includes(by.slice('arg:'.length).split('.', 1)[0]!),
    );
    if (missing.length > 0)
      report(path, `compares by ${missing.join(', ')}, and a grant of ${name} has none: compare by arg:PARAMETER`);
  }
}

/** `is not a tool of this manifest`, and which was probably meant. */
const notOne = (word: string, name: string, known: object): string =>
  `is not a ${word} of this manifest${didYouMean(name, Object.keys(known))}`;

function checkTasks(manifest: Manifest, tasks: readonly string[] | undefined, path: Path, report: Report): void {
  for (const [index, task] of (tasks ?? []).entries())
    if (member(manifest.task_types, task) === undefined)
      report([...path, index], notOne('task type', task, manifest.task_types));
}

/** @param tasks that must all have the inputs that are referred to; empty = one of them */
function checkInputs(manifest: Manifest, tasks: readonly string[], value: unknown, path: Path, report: Report): void {
  if (typeof value !== 'string') return;
  const { inputs, stray } = referencesOf(value);
  if (stray) report(path, `has a \${ that is not \${inputs.<name>}`);
  for (const input of new Set(inputs)) {
    const has = (task: string) => member(member(manifest.task_types, task)?.inputs ?? {}, input) !== undefined;
    if (tasks.length > 0 ? !tasks.every(has) : !Object.keys(manifest.task_types).some(has))
      report(
        path,
        `refers to the input ${input}, which ${tasks.length > 0 ? 'not every task type of this tool' : 'no task type'} has`,
      );
  }
}

function checkPattern(pattern: string, path: Path, report: Report): void {
  const fault = patternFault(pattern);
  if (fault !== undefined) report(path, fault);
}

function isZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en-GB', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}
