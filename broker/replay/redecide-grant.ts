/** A grant on record, decided by another manifest; or why nobody can tell. Pure. */
import canonicalize from 'canonicalize';
import type { Provider } from '../../providers/contract.ts';
import { WritError } from '../core/errors.ts';
import type { JsonObject, Plan, Reason } from '../core/vocabulary.ts';
import { evaluate } from '../grants/evaluate.ts';
import { type Manifest, member } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import { type BoundedScene, rulesOnRecord } from './bounded-rules.ts';
import type { RecordedGrant, RecordedSession } from './recorded.ts';
import { distinct, type Redecided } from './redecide-call.ts';
import { waysOf } from './worlds.ts';

/** Grants that counted when this one was asked for: as few and as many as there may have been. */
export interface Counted {
  session: { least: number; most: number };
  capability: { least: number; most: number };
}

export interface RedecidedGrant extends Redecided {
  /** How the permission would be another, where it would be given at all. */
  plan: string | null;
}

interface Unknown {
  why: string;
  hit?: string;
  /** Parameters that the agent may have left to their defaults. */
  defaults?: true;
  more?: true;
  bound?: true;
  withheld?: true;
}

export function redecideGrant(
  providers: ReadonlyMap<string, Provider>,
  before: PublishedManifest,
  candidate: PublishedManifest,
  grant: RecordedGrant,
  counted: Counted,
  scene: BoundedScene,
): RedecidedGrant {
  const { manifest } = candidate.compiled;
  const old = before.compiled.manifest;
  const { session } = grant;
  // What policy would have said is not on record.
  if (grant.effect === 'deny' && grant.reasons.some(({ code }) => code === 'locked'))
    return { effects: [], unknown: ['an admin had locked it'], plan: null };
  const capability = member(manifest.capabilities, grant.capability);
  if (capability === undefined)
    return { effects: [{ effect: 'deny', reasons: [{ code: 'capability_unknown' }] }], unknown: [], plan: null };
  const provider = providers.get(capability.provider);
  if (provider === undefined) {
    const why = `the provider ${capability.provider} is not switched on here`;
    return { effects: [], unknown: [why], plan: null };
  }

  // 1. What the agent gave: of what it may choose, the record has values, its own or the defaults.
  const oldChoices = member(old.capabilities, grant.capability)?.choose ?? {};
  const given = Object.entries(grant.params).filter(
    ([name]) => Object.hasOwn(oldChoices, name) || Object.hasOwn(capability.choose, name),
  );
  const byDefault = given.filter(([name, value]) => member(oldChoices, name)?.default === value);

  // 2. What is not known.
  const unknown: Unknown[] = [];
  if (byDefault.length > 0)
    unknown.push({
      why: `whether ${byDefault.map(([name]) => name).join(', ')} was given or left to its default`,
      defaults: true,
    });
  if (counted.session.least !== counted.session.most || counted.capability.least !== counted.capability.most)
    unknown.push({ why: 'how many grants of its session counted by then', more: true });
  const bounds = grantBounds(old, manifest, session);
  if (bounds.least !== bounds.most)
    unknown.push({ why: 'how many grants its session would have been opened for', bound: true });
  if (session.withheld.length > 0)
    unknown.push({ why: 'what rules had taken from its session by then', withheld: true });
  const sure: string[] = [];
  for (const { rule, verdict } of rulesOnRecord(scene)) {
    // What a rule cannot compare stands against the grant.
    if (verdict === true || (typeof verdict === 'object' && verdict !== null && rule.effect !== 'allow'))
      sure.push(rule.id);
    if (verdict === null)
      unknown.push({ why: `whether the rule ${rule.id} held depends on what is not kept`, hit: rule.id });
  }

  // 3. Every way in which it may have been.
  const ways = waysOf(unknown).map((way) => {
    const has = (what: 'defaults' | 'more' | 'bound' | 'withheld') => way.some((one) => one[what] === true);
    const params = Object.fromEntries(has('defaults') ? given.filter((one) => !byDefault.includes(one)) : given);
    const end = has('more') ? 'most' : 'least';
    const max = has('bound') ? bounds.most : bounds.least;
    const facts: SessionFacts['facts'] = {
      narrowed: session.narrowed,
      capabilities: session.capabilities,
      withheld: has('withheld') ? session.withheld : [],
      grants: counted.session[end],
      capability_grants: counted.capability[end],
      ...(max === null ? {} : { grants_left: max - counted.session[end] }),
    };
    const hits = [...sure, ...way.flatMap(({ hit }) => hit ?? [])];
    return decideIn(providers, candidate, grant, facts, params, hits);
  });
  const effects = distinct(ways);
  const plans = ways.flatMap(({ plan }) => (plan === null ? [] : [plan]));
  return {
    effects: effects.map(({ effect, reasons }) => ({ effect, reasons })),
    unknown: effects.length === 1 ? [] : unknown.map(({ why }) => why),
    plan: effects.length === 1 && plans[0] !== undefined ? otherPlan(provider, old, grant, plans[0]) : null,
  };
}

function decideIn(
  providers: ReadonlyMap<string, Provider>,
  candidate: PublishedManifest,
  grant: RecordedGrant,
  facts: SessionFacts['facts'],
  params: JsonObject,
  hits: readonly string[],
): { effect: string; reasons: Reason[]; plan: Plan | null } {
  const { agent, task, onBehalfOf, expiresAt } = grant.session;
  const session = {
    agent,
    task,
    onBehalfOf,
    expiresAt,
    facts,
    locks: [] as const,
  } as Partial<SessionFacts> as SessionFacts;
  const asked = { capability: grant.capability, params, ttlSeconds: grant.plan.ttl_seconds };
  try {
    const { decision, plan } = evaluate(providers, candidate, session, asked, grant.at, hits);
    const effect = decision.session_effect ?? decision.effect;
    return { effect, reasons: decision.reasons, plan: passes(effect) ? plan : null };
  } catch (error) {
    // A request that cannot be evaluated is refused before any decision.
    if (!(error instanceof WritError)) throw error;
    const reasons = (error.errors ?? []).map(
      ({ path, message }): Reason => ({ code: 'facts_not_valid', path, advice: message }),
    );
    return { effect: 'deny', reasons: reasons.length > 0 ? reasons : [{ code: 'facts_not_valid' }], plan: null };
  }
}

/** In words, how the candidate's permission differs; null where it is the same. */
function otherPlan(provider: Provider, old: Manifest, grant: RecordedGrant, plan: Plan): string | null {
  const parsed = provider.params.safeParse(grant.params);
  const was = parsed.success && member(old.capabilities, grant.capability) !== undefined ? planned() : grant.plan;
  const other = canonicalize(was.permission) !== canonicalize(plan.permission);
  const shorter = plan.ttl_seconds < grant.plan.ttl_seconds;
  const parts = [
    ...(other ? [provider.describe(plan).summary.join('; ')] : []),
    ...(shorter ? [`for ${plan.ttl_seconds} s instead of ${grant.plan.ttl_seconds} s`] : []),
  ];
  return parts.length === 0 ? null : parts.join('; ');

  // Not the row's: what an approver narrowed stands there.
  function planned(): Plan {
    try {
      return provider.plan(parsed.data, grant.plan.ttl_seconds);
    } catch {
      return grant.plan;
    }
  }
}

/** Effects by which a credential is minted, now or once a person agrees. */
const passes = (effect: string): boolean => effect === 'allow' || effect === 'approve';

const least = (...all: (number | null | undefined)[]): number | null => {
  const known = all.filter((one) => one !== null && one !== undefined);
  return known.length === 0 ? null : Math.min(...known);
};

const boundOf = (manifest: Manifest, { task }: RecordedSession) =>
  least(manifest.envelope.max_grants, member(manifest.task_types, task.task_type)?.envelope?.max_grants);

/**
 * How many grants the session would have: its own bound is on record, but not whether its agent asked for it
 * or the manifest of that time cut it.
 */
function grantBounds(old: Manifest, candidate: Manifest, session: RecordedSession) {
  const bound = boundOf(candidate, session);
  const atLeast = least(session.maxGrants, bound);
  const cut = session.maxGrants !== null && session.maxGrants === boundOf(old, session);
  return { least: atLeast, most: cut ? bound : atLeast };
}
