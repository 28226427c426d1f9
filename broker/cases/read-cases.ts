/** A file of cases → what is run, or every fault with its line and column. */
import type { FieldFault } from '../core/errors.ts';
import { faultAt, inReadingOrder, type Locate, parseStrictly } from '../manifests/parse.ts';
import { type Case, type Cases, CasesSchema, type Step } from './cases.ts';

export type ReadCases = { ok: true; cases: Cases; locate: Locate } | { ok: false; faults: FieldFault[] };

/** Whether a file holds cases, and no manifest. */
export const isCasesFile = (name: string): boolean => /\.cases\.ya?ml$/.test(name);

/** The session that asks where a step names none. */
export const ownSession = 'main';

/** Pure; never throws for what the source holds. */
export function readCases(source: string): ReadCases {
  const parsed = parseStrictly(source, CasesSchema);
  if (!parsed.ok) return parsed;
  const { value: cases, locate } = parsed;
  const faults = cases.cases.flatMap((one, index) =>
    faultsOf(one, cases, (path, message) => faultAt(['cases', index, ...path], message, locate)),
  );
  return faults.length > 0 ? { ok: false, faults: inReadingOrder(faults) } : { ok: true, cases, locate };
}

type Fault = (path: (string | number)[], message: string) => FieldFault;

/** What the schema cannot say. */
function faultsOf(one: Case, cases: Cases, fault: Fault): FieldFault[] {
  const faults: FieldFault[] = [];
  const sessions = new Set([ownSession, ...Object.keys(one.sessions ?? {})]);
  if (Object.hasOwn(one.sessions ?? {}, ownSession))
    faults.push(fault(['sessions', ownSession], 'is the session of the case itself: say what it is in `session`'));
  const shapes: [string, (string | number)[]][] = [
    ...(one.steps.some((step) => step.in === undefined) ? [[ownSession, ['session']] as [string, string[]]] : []),
    ...Object.keys(one.sessions ?? {}).map((name): [string, string[]] => [name, ['sessions', name]]),
  ];
  for (const [name, path] of shapes) {
    const shape = { ...cases.session, ...(name === ownSession ? one.session : one.sessions![name]) };
    if (shape.task_type === undefined) faults.push(fault(path, 'needs a `task_type`, here or in the file’s `session`'));
    if (shape.parent !== undefined && (!sessions.has(shape.parent) || shape.parent === name))
      faults.push(fault([...path, 'parent'], 'is not another session of this case'));
    if (shape.capabilities !== undefined && shape.parent === undefined)
      faults.push(fault([...path, 'capabilities'], 'narrows a sub-agent’s session: give it a `parent`'));
  }
  if (isCircular(one, cases)) faults.push(fault(['sessions'], 'must not be each other’s parents'));

  const reportable = new Set<string>();
  for (const [index, step] of one.steps.entries()) {
    const at = (path: string[], message: string) => faults.push(fault(['steps', index, ...path], message));
    if (step.in !== undefined && !sessions.has(step.in)) at(['in'], 'is not a session of this case');
    const kinds = (['call', 'grant', 'report', 'said'] as const).filter((kind) => step[kind] !== undefined);
    if (kinds.length > 1 || (kinds.length === 0 && step.wait === undefined)) {
      at([], 'must be one of `call`, `grant`, `report` and `said`, or a `wait` alone');
      continue;
    }
    const kind = kinds[0] ?? 'wait';
    for (const name of Object.keys(step) as (keyof Step)[])
      if (!members[kind].includes(name)) at([name], `says nothing of a step that is a \`${kind}\``);
    if (step.report !== undefined && !reportable.has(step.report)) at(['report'], 'is the `id` of no call before it');
    if (step.id !== undefined) {
      if (reportable.has(step.id)) at(['id'], 'is given twice');
      if (hasOutcome(step)) at(['id'], 'is for a later report, but the call says how it came out');
      reportable.add(step.id);
    }
  }
  return faults;
}

const outcome = ['outcome', 'output', 'structured', 'labels', 'real_cost_usd', 'entities'] as const;

export const hasOutcome = (step: Step): boolean => outcome.some((name) => step[name] !== undefined);

const members: { [kind in 'call' | 'grant' | 'report' | 'said' | 'wait']: readonly (keyof Step)[] } = {
  call: ['wait', 'in', 'call', 'args', 'cost_usd', 'id', 'approved', 'expect', ...outcome],
  grant: ['wait', 'in', 'grant', 'params', 'ttl', 'approved', 'expect'],
  report: ['wait', 'in', 'report', ...outcome],
  said: ['wait', 'in', 'said'],
  wait: ['wait'],
};

function isCircular(one: Case, cases: Cases): boolean {
  return Object.keys(one.sessions ?? {}).some((start) => {
    const seen = new Set<string>();
    for (let name: string | undefined = start; name !== undefined; name = parentOf(name)) {
      if (seen.has(name)) return true;
      seen.add(name);
    }
    return false;
  });
  function parentOf(name: string): string | undefined {
    const own = name === ownSession ? one.session : one.sessions?.[name];
    return { ...cases.session, ...own }.parent;
  }
}
