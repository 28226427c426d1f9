/**
 * What a session may call without asking: tools of which no rule speaks and which no history remembers, with
 * the limits of their arguments as they are for this session. Pure.
 *
 * A call that is let through so must be one that the real evaluation allows at every moment, and leaves no
 * trace in history that a later decision could miss. What that cannot be shown of is left out: the host asks
 * for it. A property test holds both (`client/snapshot-histories.test.ts`).
 */
import type { Task } from '../core/vocabulary.ts';
import { checkTask } from '../manifests/bind.ts';
import { inputsPut } from '../manifests/call-arguments.ts';
import { callPart } from '../manifests/call-policies.ts';
import { type CompiledRule, compiledCalls, type EventTest, withheldTool } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { type PatternProgram, patternProgram } from '../manifests/pattern.ts';
import type { Argument, Tool } from '../manifests/tool-schema.ts';

/** What one argument must be: one plain value that is all of these. */
export interface SnapshotArgument {
  path: string;
  optional: boolean;
  /** One of these. */
  values?: (string | number | boolean)[];
  min?: number;
  max?: number;
  /** A text that it matches as a whole. */
  pattern?: PatternProgram;
}

export interface SnapshotTool {
  name: string;
  args: SnapshotArgument[];
  /** The only arguments there may be, by the first part of their path; null = others are free. */
  only: string[] | null;
}

/** Bytes of all tools together, as JSON: a snapshot goes with every report. */
const maxBytes = 12_000;

/** @param withheld what rules took from the session */
export function snapshotTools(manifest: Manifest, task: Task, withheld: readonly string[]): SnapshotTool[] {
  // Where rules ask for the origin of values, the output of every tool counts.
  if (compiledCalls(manifest).looksAtOrigin || !checkTask(manifest, task.task_type, task.inputs).ok) return [];
  const tools: SnapshotTool[] = [];
  let bytes = 0;
  for (const [name, tool] of Object.entries(manifest.tools ?? {})) {
    if (tool.tasks !== undefined && !tool.tasks.includes(task.task_type)) continue;
    if (withheld.includes(withheldTool(name)) || !standsAlone(manifest, name, tool)) continue;
    const one = limitsOf(name, tool, task.inputs);
    if (one === null) continue;
    bytes += Buffer.byteLength(JSON.stringify(one));
    if (bytes > maxBytes) break;
    tools.push(one);
  }
  return tools;
}

/** Whether nothing looks at calls of the tool, and nothing remembers them. */
function standsAlone(manifest: Manifest, name: string, tool: Tool): boolean {
  const { rules, trackers } = compiledCalls(manifest);
  // What it touches may have labels, and what it sends has left: none of that without asking.
  if (tool.canary || tool.writes || tool.entity !== undefined) return false;
  // Values that are to be kept are kept before the call is made.
  if (tool.record === 'full') return false;
  if (tool.labels.length > 0 || tool.destination.length > 0) return false;
  if (callPart(manifest, name).asksTeam) return false;
  const looks = ({ on }: CompiledRule) =>
    mayTake(on, name, tool) && (on.label === null || tool.labels.includes(on.label));
  // Labels are reported with the outcome: whoever waits for one may take any tool.
  const remembers = (test: EventTest | null) => test !== null && mayTake(test, name, tool);
  return !rules.some(looks) && !trackers.some(({ event, without }) => remembers(event) || remembers(without));
}

/** Whether a test can be about some call of the tool, whatever its arguments; of labels it says nothing. */
const mayTake = (test: EventTest, name: string, tool: Tool): boolean =>
  (test.tools === null || test.tools.includes(name)) &&
  (test.sensitivity === null || tool.sensitivity >= test.sensitivity) &&
  (test.destination === null || tool.destination.length > 0) &&
  test.providers === undefined &&
  test.tier === undefined;

/** @returns null where a limit cannot be told in the snapshot's terms */
function limitsOf(name: string, tool: Tool, inputs: Task['inputs']): SnapshotTool | null {
  const args: SnapshotArgument[] = [];
  for (const [path, written] of Object.entries(tool.args)) {
    const limit = limitOf(path, written, inputs);
    if (limit === null) return null;
    args.push(limit);
  }
  const named = new Set(args.map(({ path }) => path.split('.')[0]!));
  return { name, args, only: tool.no_other_args ? [...named] : null };
}

function limitOf(path: string, written: Argument, inputs: Task['inputs']): SnapshotArgument | null {
  const limit = typeof written === 'object' ? written : { equals: written, optional: false };
  const put = (all: readonly (string | number | boolean)[]) =>
    all.map((value) => inputsPut(value, inputs)).filter((value) => value !== undefined) as (typeof all)[number][];
  const equal = limit.equals === undefined ? null : put([limit.equals]);
  const listed = limit.enum === undefined ? null : put(limit.enum);
  const values =
    equal === null || listed === null ? (equal ?? listed) : equal.filter((value) => listed.includes(value));
  const pattern = limit.pattern === undefined ? undefined : patternProgram(limit.pattern);
  if (pattern === null) return null;
  return {
    path,
    optional: limit.optional,
    ...(values === null ? {} : { values }),
    ...(limit.min === undefined ? {} : { min: limit.min }),
    ...(limit.max === undefined ? {} : { max: limit.max }),
    ...(pattern === undefined ? {} : { pattern }),
  };
}
