/**
 * Several grants that one task needs, asked for together: each is decided as if it had been asked for alone,
 * and those that need people are put to them at once.
 */
import { asWritError, WritError } from '../core/errors.ts';
import { rereadSession, type SessionFacts } from '../sessions/authenticate.ts';
import { historyReads } from './history.ts';
import { putTogether } from './put-together.ts';
import { knownName } from './recordable.ts';
import { type GrantAnswer, type GrantDeps, type GrantRequest, grantReads, requestGrant } from './request-grant.ts';

/** More than that nobody reads. */
export const mostTogether = 16;

export type BatchAnswer = GrantAnswer | { outcome: 'refused'; error: WritError };

/**
 * 1. Each is asked for, one after another: allowed, denied, or to wait.
 * 2. Those that wait are put to people together.
 *
 * @returns an answer for each, in their order
 */
export async function requestBatch(
  deps: GrantDeps,
  session: SessionFacts,
  requests: readonly GrantRequest[],
  idempotencyKey: string | null,
  requestId: string | null,
): Promise<BatchAnswer[]> {
  // 1.
  const answers: BatchAnswer[] = [];
  const waiting: string[] = [];
  for (const [index, request] of requests.entries()) {
    const key = idempotencyKey === null ? null : `${idempotencyKey}.${index}`;
    const answer = await askOne(deps, session, { ...request, together: [...waiting] }, key, requestId);
    answers.push(answer);
    if (answer.outcome === 'pending') waiting.push(answer.grant.id);
    if (answer.outcome === 'repeated') waiting.push(answer.grantId);
  }

  // 2. Where it fails people have been told of nothing: asked again under the same key, it is done then.
  const told = await putTogether(deps, session.id, [...new Set(waiting)], requestId).catch((err: unknown) => {
    deps.log.error({ err, request_id: requestId }, 'what waits could not be put to people together');
    return new WritError('unavailable', { retryAfterSeconds: 5 });
  });
  return answers.map((answer): BatchAnswer => {
    if (answer.outcome !== 'pending' && answer.outcome !== 'repeated') return answer;
    if (told instanceof WritError) return { outcome: 'refused', error: told };
    return { outcome: 'repeated', grantId: answer.outcome === 'pending' ? answer.grant.id : answer.grantId };
  });
}

/** Whatever becomes of one, the others are answered: some may have a credential by then. */
async function askOne(
  deps: GrantDeps,
  session: SessionFacts,
  request: GrantRequest,
  key: string | null,
  requestId: string | null,
): Promise<BatchAnswer> {
  try {
    const { capability, params, address = null } = request;
    const reads = {
      ...grantReads(deps, capability, key),
      ...(await historyReads(deps, session.agent, capability, params, address)),
    };
    const facts = await rereadSession(deps.store, session, deps.clock.now(), reads);
    return await requestGrant(deps, facts, request, key, requestId);
  } catch (error) {
    const known = asWritError(error);
    if (known.code === 'internal')
      deps.log.error({ err: error, request_id: requestId }, 'one of several grants failed');
    if (!known.recorded) await noteRefusal(deps, session, request, known, requestId);
    return { outcome: 'refused', error: known };
  }
}

/** One that came to no row of its own. */
async function noteRefusal(
  deps: GrantDeps,
  session: SessionFacts,
  { capability }: GrantRequest,
  { code }: WritError,
  requestId: string | null,
): Promise<void> {
  const { compiled } = await deps.catalog.inForce(session.agent, session.currentManifestVersion);
  const refusal = { capability: knownName(compiled.manifest.capabilities, capability), code, errors: [] };
  await deps.noteRefusal(session, refusal, requestId);
}
