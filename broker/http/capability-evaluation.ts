/**
 * AuthZEN on capabilities: `{type: "capability", id: "deploy"}` with the action `request` asks whether a
 * grant would be given now. Writes nothing; a denial that a person may lift says where to ask for one (the
 * Access Request and Approval Profile, draft 1).
 */
import { WritError } from '../core/errors.ts';
import type { Reason } from '../core/vocabulary.ts';
import { type Approval, approvalOf, previewGrant } from '../grants/preview-grant.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import type { AuthzenDeps, Decided } from './authzen-answers.ts';
import { argumentsIn, type EvaluationBody, type Sent } from './authzen-requests.ts';
import { requestable } from './requestable.ts';

/** The one thing to do with a capability. */
const requestAction = 'request';

/** What an approval that does not hold means to the caller (the profile's "Completion Semantics"). */
const reasonOf: { readonly [because in Extract<Approval, { holds: false }>['because']]: string } = {
  pending: 'grant_pending',
  over: 'approval_expired',
  elsewhere: 'out_of_scope',
  denied: 'policy_denied',
  unknown: 'approval_unverifiable',
};

/** How soon to ask again about an approval that nobody has decided on, in seconds. */
export const retrySeconds = 2;

/** @throws WritError `bad_request` with the field's path */
export async function evaluateCapability(
  deps: AuthzenDeps,
  session: SessionFacts,
  body: EvaluationBody,
  { address, path = '' }: Sent,
  requestId: string,
): Promise<Decided> {
  const asked = { ...capabilityRequest(body, path), address: address ?? null };
  const preview = await previewGrant(deps.grants, session, asked, requestId).catch((error) => {
    throw atPath(error, path);
  });
  if (preview.is === 'unknown')
    return decided('deny', [{ code: 'capability_unknown', path: 'resource.id' }], [], preview.manifestVersion);
  if (preview.is === 'decoy') return decided('terminate', [{ code: 'rule' }], [], preview.manifestVersion);
  const { effect, reasons, policy_ids, manifest_version } = preview.decision;
  const { approval } = body.context ?? {};
  const plain = decided(effect, reasons, policy_ids, manifest_version);
  if (effect === 'allow') return plain;

  const canAsk = () =>
    effect === 'approve'
      ? requestable(deps, session, body, { evaluationId: crypto.randomUUID(), grantId: null, until: null, reasons })
      : Promise.resolve({});
  if (approval === undefined) return { ...plain, context: { ...plain.context, ...(await canAsk()) } };

  const given = await approvalOf(deps.grants, preview, asked, approval.id);
  if (given.holds) {
    const { context } = decided('allow', [], policy_ids, manifest_version);
    return {
      decision: true,
      context: { ...context, approval: { id: approval.id, approved_until: given.until.toISOString() } },
    };
  }
  const again = given.because === 'over' || given.because === 'elsewhere' ? await canAsk() : {};
  const next = 'access_request' in again ? 'request' : given.because === 'pending' ? 'retry' : 'none';
  const wait = next === 'retry' ? { retry_after: retrySeconds } : {};
  return {
    ...plain,
    context: { ...plain.context, ...again, reason: reasonOf[given.because], next_action: next, ...wait },
  };
}

/** @throws WritError `bad_request` */
export function capabilityRequest(body: EvaluationBody, path = '') {
  if (body.action.name !== requestAction)
    throw new WritError('bad_request', {
      errors: [{ path: `${path}action.name`, message: `must be ${requestAction} for a capability` }],
    });
  return { capability: body.resource.id, params: argumentsIn(body, path), ttlSeconds: body.context?.ttl_seconds };
}

/** Where the fields of a grant's request are in an evaluation. */
function atPath(error: unknown, path: string): unknown {
  if (!(error instanceof WritError) || error.errors === undefined) return error;
  const errors = error.errors.map((fault) => ({
    ...fault,
    path: `${path}${fault.path.replace(/^params\b/, 'context.arguments').replace(/^ttl_seconds$/, 'context.ttl_seconds')}`,
  }));
  return new WritError(error.code, { ...(error.detail === undefined ? {} : { detail: error.detail }), errors });
}

const decided = (
  effect: 'allow' | 'deny' | 'approve' | 'terminate',
  reasons: Reason[],
  policyIds: string[],
  manifestVersion: number,
): Decided => ({
  decision: effect === 'allow',
  context: { effect, reasons, policy_ids: policyIds, manifest_version: manifestVersion, obligations: [] },
});
