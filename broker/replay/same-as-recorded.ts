/**
 * What a candidate takes over from the version that a call was decided under: of a rule or a limit that says
 * the same in both, the record itself tells how it came out, whatever is known of the arguments.
 */
import canonicalize from 'canonicalize';
import type { Json, Reason } from '../core/vocabulary.ts';
import { manifestWords } from '../manifests/call-arguments.ts';
import { callPart } from '../manifests/call-policies.ts';
import { type CompiledRule, compiledCalls, toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import { memoize } from '../manifests/memoize.ts';
import type { Tool } from '../manifests/tool-schema.ts';
import type { Verdict } from './bounded-rules.ts';
import type { Told } from './told.ts';

const same = (a: unknown, b: unknown): boolean =>
  canonicalize((a ?? null) as Json) === canonicalize((b ?? null) as Json);

/** Whether a tool is to rules what it was: limits on its arguments, and words for people, are no matter. */
const sameToRules = (a: Tool | undefined, b: Tool | undefined): boolean => {
  const facts = (tool: Tool | undefined) => {
    if (tool === undefined) return null;
    const { entity, writes, destination, sensitivity, labels, output, trusted_fields, cost_usd } = tool;
    return { entity: entity ?? null, writes, destination, sensitivity, labels, output, trusted_fields, cost_usd };
  };
  return same(facts(a), facts(b));
};

/** Whether facts of calls, and what sticks to a session, come out alike under both. */
const pairs = memoize((_before: Manifest) => new WeakMap<Manifest, { facts: boolean; words: boolean }>());

function ground(before: Manifest, candidate: Manifest): { facts: boolean; words: boolean } {
  const known = pairs(before).get(candidate);
  if (known !== undefined) return known;
  const names = new Set([...Object.keys(before.tools ?? {}), ...Object.keys(candidate.tools ?? {})]);
  const facts =
    same(before.egress, candidate.egress) &&
    [...names].every((name) => sameToRules(toolOf(before, name), toolOf(candidate, name)));
  const words = same([...new Set(manifestWords(before))].sort(), [...new Set(manifestWords(candidate))].sort());
  pairs(before).set(candidate, { facts, words });
  return { facts, words };
}

/** Whether policies of the team's own about a tool look at the same facts, and say the same. */
export const sameTeamPolicies = (before: Manifest, candidate: Manifest, tool: string): boolean =>
  toolOf(before, tool) !== undefined &&
  ground(before, candidate).facts &&
  same(before.task_types, candidate.task_types) &&
  same(toolOf(before, tool)!.args, toolOf(candidate, tool)!.args) &&
  same(callPart(before, tool).policies as unknown, callPart(candidate, tool).policies as unknown);

const asksForWords = (rule: CompiledRule): boolean =>
  [...rule.when, ...(rule.unless === null ? [] : [rule.unless])].some(
    ({ now }) => now.untrusted !== undefined || now.unvouched !== undefined || now.unsaid !== undefined,
  );

/** The rule of the older version that asks the very same; undefined where there is none. */
function counterpart(before: Manifest, candidate: Manifest, rule: CompiledRule): CompiledRule | undefined {
  const { facts, words } = ground(before, candidate);
  if (!facts || (asksForWords(rule) && !words)) return undefined;
  const asked = ({ on, when, unless }: CompiledRule) => ({ on, when, unless });
  return compiledCalls(before).rules.find((one) => same(asked(one), asked(rule)));
}

/**
 * How a rule came out for a call, by what is on record of it.
 * @returns undefined where the version that it was decided under has no such rule
 */
export function recordedVerdict(
  before: Manifest,
  candidate: Manifest,
  rule: CompiledRule,
  { hits, reasons }: { hits: readonly string[]; reasons: readonly Reason[] },
): Verdict | undefined {
  const one = counterpart(before, candidate, rule);
  if (one === undefined) return undefined;
  if (hits.includes(one.id)) return true;
  const lacking = reasons.find(
    ({ code, policy_id }) => code === 'field_missing' && policy_id?.endsWith(`.rule.${one.id}`),
  );
  return lacking === undefined ? false : { lacks: lacking.path ?? '' };
}

/**
 * Whether a rule could not recognise the call later, by what is on record of it.
 * @returns undefined where the record does not say
 */
export function recordedUntold(
  before: Manifest,
  candidate: Manifest,
  rule: CompiledRule,
  { reasons }: { reasons: readonly Reason[] },
): boolean | undefined {
  const one = counterpart(before, candidate, rule);
  if (one === undefined) return undefined;
  const missing = reasons.filter(({ code }) => code === 'field_missing');
  // Where another rule lacked something, this was not asked any more.
  return missing.length === 0
    ? false
    : missing.some(({ policy_id }) => policy_id?.endsWith(`.rule.${one.id}`)) || undefined;
}

/**
 * Whether what a call writes into could not be told, by what is on record of it.
 * @returns undefined where the record does not say
 */
export const recordedLineage = (
  before: Tool | undefined,
  candidate: Tool,
  { reasons }: { reasons: readonly Reason[] },
): boolean | undefined =>
  sameToRules(before, candidate)
    ? reasons.some(({ code, policy_id }) => code === 'field_missing' && policy_id?.endsWith('.rule.lineage') === true)
    : undefined;

/** How the limit on an argument came out for a call. @returns null where the record does not say */
export function recordedOutside(
  before: Tool | undefined,
  candidate: Tool,
  path: string,
  { effect, reasons }: { effect: string; reasons: readonly Reason[] },
): Told {
  if (before === undefined || !Object.hasOwn(before.args, path)) return null;
  if (!same(before.args[path], candidate.args[path])) return null;
  if (effect === 'allow') return false;
  // Cedar names every limit that a call is outside of; where it failed, it names none.
  if (reasons.some(({ code }) => code === 'policy_failed' || code === 'facts_not_valid' || code === 'tool_unknown'))
    return null;
  return reasons.some(({ code, path: where }) => code === 'argument_outside' && where === `context.arguments.${path}`);
}
