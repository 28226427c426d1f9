/** A tool call on record, decided by another manifest; or why nobody can tell. Pure. */
import { userText, type VouchedPerson } from '../core/identifier.ts';
import type { Reason } from '../core/vocabulary.ts';
import { decideCall } from '../decide/decide-call.ts';
import { argumentsOutside } from '../manifests/call-arguments.ts';
import { callFactValues } from '../manifests/call-facts.ts';
import { callPart } from '../manifests/call-policies.ts';
import { toolOf } from '../manifests/compile-calls.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import type { Argument, Tool } from '../manifests/tool-schema.ts';
import { type BoundedScene, entityTold, rulesOnRecord, untoldOnRecord } from './bounded-rules.ts';
import { allKnown, isKnownAt, type KnownArguments } from './known-arguments.ts';
import type { RecordedCall } from './recorded.ts';
import {
  recordedLineage,
  recordedOutside,
  recordedUntold,
  recordedVerdict,
  sameTeamPolicies,
} from './same-as-recorded.ts';
import type { Told } from './told.ts';
import { waysOf } from './worlds.ts';

/** What comes of it: one effect, or several of which nobody can tell which. */
export interface Redecided {
  effects: { effect: string; reasons: Reason[] }[];
  /** What is not known, and makes the difference; empty where there is one effect. */
  unknown: string[];
}

/** What one of several unknown things does where it is so. */
interface Unknown {
  why: string;
  outside?: string;
  hit?: string;
  lacks?: { rule: string; path: string };
  /** Rules had taken from the session, by then, what they took. */
  withheld?: true;
}

/**
 * @param before the version that the call was decided under
 * @param candidate decides
 */
export function redecideCall(
  before: PublishedManifest,
  candidate: PublishedManifest,
  call: RecordedCall,
  scene: BoundedScene,
): Redecided {
  const { compiled } = candidate;
  const { manifest } = compiled;
  const { facts, known } = scene.call;
  const tool = toolOf(manifest, call.tool);
  const sure = { outside: [] as string[], hits: [] as string[], missing: [] as { rule: string; path: string }[] };
  const unknown: Unknown[] = [];

  for (const path of Object.keys(tool?.args ?? {})) {
    const recorded = recordedOutside(toolOf(before.compiled.manifest, call.tool), tool!, path, call);
    const outside = recorded ?? outsideTold(tool!, path, known, scene);
    if (outside === true) sure.outside.push(path);
    if (outside === null)
      unknown.push({ why: `the value of ${path} is not kept, and the manifest limits it`, outside: path });
  }
  const named = new Set(
    [...Object.keys(tool?.args ?? {}), ...(tool?.destination ?? [])].map((path) => path.split('.')[0]),
  );
  const given = [...Object.keys(known.values), ...known.unknown.keys()];
  const unexpected = tool?.no_other_args === true && (known.more || given.some((name) => !named.has(name)));

  for (const { rule, verdict, mayLack } of rulesOnRecord(scene)) {
    const told = recordedVerdict(before.compiled.manifest, manifest, rule, call) ?? verdict;
    const why = `whether the rule ${rule.id} held depends on what is not kept`;
    if (told === true) sure.hits.push(rule.id);
    // One that lets through lets none through that lacks what it compares.
    else if (rule.effect === 'allow' && told !== null) continue;
    else if (told === null) {
      unknown.push({ why, hit: rule.id });
      if (mayLack !== null && rule.effect !== 'allow') unknown.push({ why, lacks: { rule: rule.id, path: mayLack } });
    } else if (told !== false) sure.missing.push({ rule: rule.id, path: told.lacks });
  }
  if (sure.missing.length === 0)
    for (const { rule, path, told } of untoldOnRecord(scene.call)) {
      const { id } = rule;
      const hidden = told ?? recordedUntold(before.compiled.manifest, manifest, rule, call) ?? null;
      if (hidden === true) sure.missing.push({ rule: id, path });
      if (hidden === null)
        unknown.push({
          why: `whether the rule ${id} could recognise it depends on what is not kept`,
          lacks: { rule: id, path },
        });
    }

  if (tool?.writes === true && facts.entity === null) {
    const lacks = { rule: 'lineage', path: 'entity' };
    const recorded = recordedLineage(toolOf(before.compiled.manifest, call.tool), tool, call);
    const told = recorded === undefined ? entityTold(scene.call) : !recorded;
    if (told === false) sure.missing.push(lacks);
    if (told === null) unknown.push({ why: 'what it writes into is not kept', lacks });
  }
  if (call.session.withheld.length > 0)
    unknown.push({ why: 'what rules had taken from its session by then', withheld: true });

  const team = teamFacts(scene);
  if (team === 'unknown') {
    // The same policies, asked of the same facts, answer the same.
    if (unknown.length === 0 && sameTeamPolicies(before.compiled.manifest, manifest, call.tool))
      return { effects: [{ effect: call.effect, reasons: call.reasons }], unknown: [] };
    const why = 'policies of the team’s own look at what is not kept';
    const effects = ['allow', 'deny'].map((effect) => ({ effect, reasons: [] }));
    return { effects, unknown: [...unknown.map((one) => one.why), why] };
  }
  if (team !== null && 'lacks' in team) sure.missing.push({ rule: 'cedar', path: team.lacks });

  const decideIn = (way: readonly Unknown[]) => {
    const { effect, reasons } = decideCall(
      {
        agent: call.session.agent,
        manifest_version: candidate.version,
        task: call.session.task,
        tool: call.tool,
        entity: facts.entity,
        outside: [...sure.outside, ...way.flatMap(({ outside }) => outside ?? [])],
        unexpected,
        hits: [...sure.hits, ...way.flatMap(({ hit }) => hit ?? [])],
        approved: call.agreed ?? [],
        withheld: way.some(({ withheld }) => withheld === true) ? call.session.withheld : [],
        missing: [...sure.missing, ...way.flatMap(({ lacks }) => lacks ?? [])],
        ...(team !== null && 'values' in team ? { team: team.values } : {}),
      },
      compiled,
    );
    return { effect, reasons };
  };
  const effects = distinct(waysOf(unknown).map(decideIn));
  return { effects, unknown: effects.length === 1 ? [] : [...new Set(unknown.map(({ why }) => why))] };
}

/** Facts for policies of the team's own; null = there are none about the tool. */
function teamFacts({ call, session, labels, moreLabels, moment }: BoundedScene) {
  const { manifest, facts, known } = call;
  const tool = facts.tool === null ? undefined : toolOf(manifest, facts.tool);
  if (tool === undefined) return null;
  const part = callPart(manifest, facts.tool!);
  if (!part.asksTeam) return null;
  // Where a call came from is not kept.
  if (!allKnown(known) || moreLabels || JSON.stringify(part.policies).includes('"address"')) return 'unknown';
  const onBehalfOf = session.onBehalfOf === null ? null : userText(session.onBehalfOf as VouchedPerson);
  return callFactValues(manifest, tool, facts, { task: session.task, labels, onBehalfOf, now: new Date(moment.now) });
}

/** One of each effect, the first of its kind. */
export function distinct<One extends { effect: string }>(all: readonly One[]): One[] {
  return [...new Map(all.toReversed().map((one) => [one.effect, one])).values()].toReversed();
}

function outsideTold(tool: Tool, path: string, known: KnownArguments, { session }: BoundedScene): Told {
  const limit = tool.args[path]!;
  if (isKnownAt(known, path)) {
    const alone = { ...tool, args: { [path]: limit }, no_other_args: false };
    return argumentsOutside(alone, known.values, session.task.inputs).length > 0;
  }
  const shown = known.unknown.get(path);
  // A value within one that nobody knows, or in a list of several.
  if (shown === undefined || shown.type === 'list') return null;
  return shown.type === 'object' || isOutside(limit, shown.type);
}

/** A plain value that is none of those that the manifest compares with: those would have been recognised. */
function isOutside(limit: Argument, type: string): Told {
  if (typeof limit !== 'object' || limit.equals !== undefined || limit.enum !== undefined) return true;
  if (limit.pattern !== undefined && type !== 'string') return true;
  if ((limit.min !== undefined || limit.max !== undefined) && type !== 'number') return true;
  return limit.pattern === undefined && limit.min === undefined && limit.max === undefined ? false : null;
}
