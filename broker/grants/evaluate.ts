/**
 * Parameters → plan → facts → decision: the middle of both flows. Pure but for the manifest it is given;
 * nothing here has an effect.
 */
import { lifetimesOf, type Provider, ProviderError } from '../../providers/contract.ts';
import { type FieldFault, WritError } from '../core/errors.ts';
import { didYouMean } from '../core/field-words.ts';
import { userText } from '../core/identifier.ts';
import type { JsonObject, Plan, PlanDescription, Reason } from '../core/vocabulary.ts';
import { type Decision, decide } from '../decide/decide.ts';
import { type DecisionFacts, planFacts, withoutOwnShare } from '../decide/facts.ts';
import { nearest } from '../decide/nearest.ts';
import { planDigest } from '../decide/plan-digest.ts';
import { lockedReasons } from '../locks/standing-locks.ts';
import { bindParams } from '../manifests/bind.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import { type Capability, member } from '../manifests/manifest.ts';
import { paramPath, readParams } from '../manifests/param-faults.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';

/** TTL asked for when the agent names none, in seconds; never more than the capability allows. */
const defaultTtlSeconds = 900;

export interface Evaluation {
  plan: Plan;
  digest: string;
  description: PlanDescription;
  decision: Decision;
  provider: Provider;
  params: JsonObject;
  /** For a denial: the nearest request that policy alone would allow. Computed only when asked for. */
  nearest(): ReturnType<typeof nearest>;
}

/** What is being asked, as far as a decision looks at it. */
export interface Asked {
  capability: string;
  params: JsonObject | undefined;
  ttlSeconds: number | undefined;
}

/**
 * @throws WritError `bad_request` with the field's path (unknown capability or parameter, malformed value, a
 *   TTL no plan can have), `unavailable`
 */
export function evaluate(
  providers: ReadonlyMap<string, Provider>,
  manifest: PublishedManifest,
  session: SessionFacts,
  asked: Asked,
  now: Date,
  hits: readonly string[] = [],
): Evaluation {
  const { capability, provider } = find(providers, manifest, asked.capability);
  const bound = bindParams(capability, session.task, asked.params);
  if (!bound.ok) throw badRequest(bound.faults);
  const params = paramsFor(provider, bound.params);
  const plan = makePlan(
    provider,
    params,
    effectiveTtl(capability, lifetimesOf(provider, params), session, asked.ttlSeconds, now),
  );
  return evaluatePlan(
    provider,
    manifest,
    session,
    { capability: asked.capability, params: bound.params, plan },
    now,
    false,
    hits,
  );
}

/**
 * The same, while two people have broken the glass for it: past rules that deny it or have people asked, and
 * past the approval of its tier. All else decides as ever: parameters, lifetime, number, locks; and rules
 * that do something to the session, because they say that something is wrong with the agent.
 * @param glass how much of its time is left
 * @returns null where it is refused all the same
 */
export function evaluateUnderBreakGlass(
  providers: ReadonlyMap<string, Provider>,
  manifest: PublishedManifest,
  session: SessionFacts,
  asked: Asked,
  now: Date,
  hits: readonly string[],
  glass: { id: string; secondsLeft: number },
): Evaluation | null {
  const { capability, provider } = find(providers, manifest, asked.capability);
  const bound = bindParams(capability, session.task, asked.params);
  if (!bound.ok || glass.secondsLeft < provider.limits.minTtlSeconds) return null;
  const wanted = Math.min(asked.ttlSeconds ?? defaultTtlSeconds, glass.secondsLeft);
  const params = paramsFor(provider, bound.params);
  const plan = makePlan(
    provider,
    params,
    effectiveTtl(capability, lifetimesOf(provider, params), session, wanted, now),
  );
  const about = { capability: asked.capability, params: bound.params, plan };
  const standing = hits.filter((hit) => restraining(manifest).has(hit));
  const evaluation = evaluatePlan(provider, manifest, session, about, now, 'break_glass', standing);
  if (evaluation.decision.effect !== 'allow') return null;
  const reasons: Reason[] = [{ code: 'break_glass', policy_id: `break_glass.${glass.id}` }];
  return { ...evaluation, decision: { ...evaluation.decision, reasons } };
}

/** Ids of rules that end, freeze or narrow the session by which they are hit. */
const restraining = ({ compiled: { manifest } }: PublishedManifest): Set<string> =>
  new Set(
    compiledCalls(manifest)
      .rules.filter(({ effect }) => effect === 'terminate' || effect === 'suspend' || effect === 'downgrade')
      .map(({ id }) => id),
  );

/** Decides on a plan that exists: `approved` when a person consented to it, or two broke the glass for it. */
export function evaluatePlan(
  provider: Provider,
  manifest: PublishedManifest,
  session: SessionFacts,
  asked: { capability: string; params: JsonObject; plan: Plan },
  now: Date,
  approved: boolean | 'break_glass',
  hits: readonly string[] = [],
): Evaluation {
  const digest = planDigest(asked.plan);
  const description = provider.describe(asked.plan);
  const facts: DecisionFacts = {
    agent: session.agent,
    owner: manifest.compiled.manifest.owner,
    manifest_version: manifest.version,
    task: session.task,
    ...(session.onBehalfOf === null ? {} : { on_behalf_of: userText(session.onBehalfOf) }),
    // What the agent declares is no fact (invariant 4).
    capability: asked.capability,
    params: asked.params,
    plan: planFacts({ plan: asked.plan, digest, description }),
    now,
    approved: approved !== false,
    hits,
    // What is asked for the first time has added nothing to them.
    session: approved === true ? withoutOwnShare(session.facts) : session.facts,
  };
  const decision = decide(facts, manifest.compiled);
  const locked = lockedReasons(session.locks, { ...asked, agent: session.agent, provider: asked.plan.provider });
  return {
    plan: asked.plan,
    digest,
    description,
    provider,
    params: asked.params,
    decision: locked === null ? decision : underLock(decision, locked),
    nearest: () =>
      // Under a lock nothing passes.
      locked !== null
        ? undefined
        : nearest(facts, manifest.compiled, (params, ttlSeconds) => {
            const read = paramsFor(provider, params);
            const ttl = Math.min(ttlSeconds, lifetimesOf(provider, read).maxTtlSeconds);
            const plan = makePlan(provider, read, ttl);
            return planFacts({ plan, digest: planDigest(plan), description: provider.describe(plan) });
          }),
  };
}

/** Whatever policy says, a lock goes before it; what a rule does to the session because it asked, it does. */
const underLock = (decision: Decision, reasons: Reason[]): Decision => ({
  ...decision,
  effect: 'deny',
  reasons: [...reasons, ...(decision.effect === 'deny' ? decision.reasons : [])],
  policy_ids: [
    ...reasons.flatMap(({ policy_id }) => policy_id ?? []),
    ...(decision.effect === 'deny' ? decision.policy_ids : []),
  ],
});

/**
 * @throws WritError `bad_request` for a capability the manifest does not have, `unavailable` when its
 *   provider is not switched on here
 */
export function find(providers: ReadonlyMap<string, Provider>, manifest: PublishedManifest, name: string) {
  const { capabilities } = manifest.compiled.manifest;
  const capability = member(capabilities, name);
  if (capability === undefined) {
    const message = `is not a capability of this agent${didYouMean(name, Object.keys(capabilities))}`;
    throw badRequest([{ path: 'capability', message }]);
  }
  const provider = providers.get(capability.provider);
  if (provider === undefined) {
    throw new WritError('unavailable', { detail: `The provider ${capability.provider} is not switched on.` });
  }
  return { capability, provider };
}

/**
 * TTL = min(asked, capability, what is left of the session, provider). A provider cannot go below its
 * shortest: longer than asked for is never given.
 */
function effectiveTtl(
  capability: Capability,
  { minTtlSeconds, maxTtlSeconds }: ReturnType<typeof lifetimesOf>,
  session: SessionFacts,
  asked: number | undefined,
  now: Date,
): number {
  const left = Math.floor((session.expiresAt.getTime() - now.getTime()) / 1000);
  const ttl = Math.min(asked ?? defaultTtlSeconds, capability.max_ttl, left, maxTtlSeconds);
  if (ttl >= minTtlSeconds) return ttl;
  const message =
    left < minTtlSeconds
      ? `only ${left} s are left of the session, and ${capability.provider} gives no less than ${minTtlSeconds} s`
      : `${capability.provider} gives no less than ${minTtlSeconds} s`;
  throw badRequest([{ path: 'ttl_seconds', message }]);
}

/** What the provider's schema makes of the parameters; it alone goes into a plan. */
function paramsFor(provider: Provider, asked: JsonObject): unknown {
  const read = readParams(provider.params, asked);
  if (!read.ok) throw badRequest(read.faults);
  return read.params;
}

function makePlan(provider: Provider, params: unknown, ttlSeconds: number): Plan {
  try {
    return provider.plan(params, ttlSeconds);
  } catch (error) {
    if (!(error instanceof ProviderError) || error.code !== 'bad_params') throw error;
    throw badRequest([{ path: paramPath(error.path), message: error.message }]);
  }
}

function badRequest(errors: FieldFault[]): WritError {
  return new WritError('bad_request', { errors });
}
