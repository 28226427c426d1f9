/**
 * What the answer to a request for a capability would be now, and whether an approval that was given covers
 * it. Nothing is written: it is no attempt, moves no history and gives nothing.
 */
import canonicalize from 'canonicalize';
import { canariesOfGrant, touchedByGrant } from '../actions/touch-canary.ts';
import { WritError } from '../core/errors.ts';
import { isQuestion } from '../core/questions.ts';
import type { Json, JsonObject, Plan } from '../core/vocabulary.ts';
import type { Decision } from '../decide/decide.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
import { type Asked, type Evaluation, evaluate } from './evaluate.ts';
import { historyReads } from './history.ts';
import { pastTheRules } from './past-the-rules.ts';
import { redeemableUntil } from './redeem-grant.ts';
import { type GrantDeps, grantReads, historyOfRequest, underCeiling } from './request-grant.ts';

export type Preview =
  | { is: 'known'; decision: Decision; evaluation: Evaluation; session: SessionFacts }
  /** The manifest in force has no such capability. */
  | { is: 'unknown'; manifestVersion: number }
  /** It has touched a canary: people are told, and the session has ended by it. */
  | { is: 'decoy'; manifestVersion: number };

export interface AskedFrom extends Asked {
  /** Where it comes from; null = nobody knows. */
  address: string | null;
}

/** @throws WritError `bad_request` with the parameter's path, `conflict`, `unavailable` */
export async function previewGrant(
  deps: GrantDeps,
  admitted: SessionFacts,
  asked: AskedFrom,
  requestId: string | null,
): Promise<Preview> {
  const now = deps.clock.now();
  const session = await rereadSession(deps.store, admitted, now, {
    ...grantReads(deps, asked.capability, null),
    ...(await historyReads(deps, admitted.agent, asked.capability, asked.params, asked.address)),
  });
  const manifest = await deps.catalog.inForce(session.agent, session.currentManifestVersion);
  // Whoever asks about a decoy touches it, as if it had asked for it.
  const canaries = canariesOfGrant(manifest.compiled.manifest, asked.capability, asked.params ?? {});
  if (canaries.length > 0) {
    await touchedByGrant(
      deps,
      manifest.compiled.manifest,
      session,
      { canaries, capability: asked.capability },
      requestId,
    );
    return { is: 'decoy', manifestVersion: manifest.version };
  }
  if (!Object.hasOwn(manifest.compiled.manifest.capabilities, asked.capability))
    return { is: 'unknown', manifestVersion: manifest.version };
  const history = await historyOfRequest(deps, manifest, session, asked, now);
  if (history === 'moved_on') throw new WritError('conflict', { retryAfterSeconds: 1 });
  const bounded = underCeiling(deps, session);
  const byManifest = evaluate(deps.providers, manifest, bounded, asked, now, history.hits);
  const broken = await pastTheRules(deps, manifest, bounded, asked, now, history.hits, byManifest);
  const evaluation = broken?.evaluation ?? byManifest;
  return { is: 'known', decision: evaluation.decision, evaluation, session };
}

/** What an approval is worth to a request. */
export type Approval =
  | { holds: true; until: Date }
  /**
   * `pending`: nobody has decided yet. `over`: denied, used or too old. `elsewhere`: it is for another
   * request. `denied`: policy no longer allows it. `unknown`: no such approval of this session.
   */
  | { holds: false; because: 'pending' | 'over' | 'elsewhere' | 'denied' | 'unknown' };

/**
 * Whether the approval covers this very request: the same capability, parameters and permission; the lifetime
 * may have been narrowed.
 */
export async function approvalOf(
  deps: GrantDeps,
  { session, evaluation }: Extract<Preview, { is: 'known' }>,
  { capability, address }: AskedFrom,
  grantId: string,
): Promise<Approval> {
  const grant = await deps.store.prisma.grant.findFirst({ where: { id: grantId, sessionId: session.id } });
  if (grant === null || isQuestion(grant.capability)) return { holds: false, because: 'unknown' };
  const { permission, provider } = grant.plan as unknown as Plan;
  const given = { capability: grant.capability, params: grant.params as JsonObject, permission, provider };
  const wanted = { capability, params: evaluation.params, ...permissionOf(evaluation.plan) };
  if (canonicalize(given as Json) !== canonicalize(wanted as Json)) return { holds: false, because: 'elsewhere' };
  if (grant.status === 'pending') return { holds: false, because: 'pending' };
  if (grant.status !== 'approved') return { holds: false, because: 'over' };
  try {
    const reads = { capability, ...(await historyReads(deps, session.agent, capability, evaluation.params, address)) };
    const again = await rereadSession(deps.store, session, deps.clock.now(), reads);
    return { holds: true, until: await redeemableUntil(deps, again, grantId, address) };
  } catch (error) {
    if (!(error instanceof WritError)) throw error;
    if (error.code === 'denied') return { holds: false, because: 'denied' };
    const inFlight = error.code === 'conflict' && error.extensions.grant_status === 'issuing';
    if (inFlight || error.code === 'not_approved' || error.code === 'already_redeemed')
      return { holds: false, because: 'over' };
    throw error;
  }
}

const permissionOf = ({ permission, provider }: Plan) => ({ permission, provider });
