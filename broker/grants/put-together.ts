/**
 * Puts what an agent asked for together to people together: of the grants that wait, those which need the
 * same people become one batch, a row of `grants` of its own whose plan lists them. People decide on that
 * row; a grant is the batch's where its plan names it, so whoever writes the database adds none.
 */
import { insertNotices } from '../../approvals/notices.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { newId } from '../core/ids.ts';
import { aboutBatch, type BatchMember } from '../core/questions.ts';
import type { Plan, Reason } from '../core/vocabulary.ts';
import type { Decision } from '../decide/decide.ts';
import { planDigest } from '../decide/plan-digest.ts';
import { reviewTerms } from '../manifests/approval-terms.ts';
import { mayAct } from '../sessions/live-session.ts';
import type { Statement, Store } from '../store/open.ts';
import type { Grant } from '../store/prisma/client.ts';
import { requestRow } from './consent.ts';
import { grantHolds } from './proven-grant.ts';
import { batchPlan, insertQuestion, makeQuestion, type Question } from './question.ts';
import type { GrantDeps } from './request-grant.ts';

// As people would find them now: nobody has been told of one of them, nor said yes to it.
const batchStatement: Statement = {
  name: 'grants_put_together',
  text: `
    WITH live AS (
      SELECT s.id FROM session s WHERE s.id = $2::text AND ${mayAct('s', '$3::timestamptz')} FOR SHARE OF s
    ), listed AS (
      SELECT g.id FROM live JOIN grants g ON g.session_id = live.id
      WHERE g.id = ANY($4::text[]) AND g.status = 'pending' AND g.batch_id IS NULL AND g.approval_count = 0 AND g.decide_by > $3::timestamptz
      ORDER BY g.id FOR UPDATE OF g
    ), all_listed AS (
      SELECT $1::json AS question FROM listed HAVING count(*) = cardinality($4::text[])
    ), batch AS (
${insertQuestion('all_listed')} RETURNING id, session_id, agent, decide_by
    ), members AS (
      UPDATE grants SET batch_id = batch.id, decide_by = batch.decide_by FROM batch WHERE grants.id = ANY($4::text[])
    ), notices AS (${insertNotices('batch', '$5', '$6', '$3')}
    ), audited AS (
      ${appendEvent({ chain: 'session_id', at: '$3::timestamptz', type: event('grant.pending'), actor: 'agent', grant: 'id', request: '$7::text', payload: '$8::json' }, 'batch')}
    )
    SELECT id FROM batch`,
};

const aloneStatement: Statement = {
  name: 'grant_told_alone',
  text: `
    WITH untold AS (
      SELECT g.id FROM grants g WHERE g.id = $1::text AND g.status = 'pending' AND g.batch_id IS NULL
    )${insertNotices('untold', '$2', '$3', '$4')}
      ON CONFLICT (grant_id, channel, kind) DO NOTHING`,
};

type TogetherDeps = Pick<GrantDeps, 'store' | 'clock' | 'catalog' | 'providers' | 'noticeChannels' | 'log'>;

/**
 * People are told of each of these grants that waits and of which nobody has told them: of those that need
 * the same people at once, of any other alone.
 * @param grantIds of one session, in the order in which they were asked for
 */
export async function putTogether(
  deps: TogetherDeps,
  sessionId: string,
  grantIds: readonly string[],
  requestId: string | null,
): Promise<void> {
  const waiting = await untold(deps.store, sessionId, grantIds);
  for (const alike of await bySamePeople(deps, waiting)) {
    const together = alike.length > 1 && (await batchOf(deps, alike, requestId));
    if (!together) for (const { id } of alike) await tellAlone(deps, id);
  }
}

async function untold(store: Store, sessionId: string, grantIds: readonly string[]): Promise<Grant[]> {
  const grants = await store.prisma.grant.findMany({
    where: { id: { in: [...grantIds] }, sessionId, status: 'pending', batchId: null, notices: { none: {} } },
  });
  return grants
    .filter((grant) => grantHolds(store, requestRow(grant)))
    .sort((a, b) => grantIds.indexOf(a.id) - grantIds.indexOf(b.id));
}

/** Which of them the same people decide on, under the same terms. */
async function bySamePeople({ catalog }: TogetherDeps, grants: readonly Grant[]): Promise<Grant[][]> {
  const terms = await Promise.all(
    grants.map(async ({ id, agent, capability, manifestVersion, tier, decision, approvalCount }) => {
      const { compiled } = await catalog.version(agent, manifestVersion);
      const { approval = null, expires_seconds = null } = decision as unknown as Decision;
      // What somebody has approved already waits for the others alone.
      const alone = approvalCount > 0 ? id : null;
      return JSON.stringify([
        manifestVersion,
        tier,
        approval,
        expires_seconds,
        reviewTerms(compiled.manifest, capability),
        alone,
      ]);
    }),
  );
  return [...Map.groupBy(grants.keys(), (index) => terms[index]).values()].map((of) =>
    of.map((index) => grants[index] as Grant),
  );
}

/** @returns false when one of them is not as it was: nothing is written then */
async function batchOf(deps: TogetherDeps, grants: readonly Grant[], requestId: string | null): Promise<boolean> {
  const { store, noticeChannels } = deps;
  const now = deps.clock.now();
  const question = questionAbout(deps, grants, now);
  const audit = eventPayload('grant.pending', {
    capability: question.capability,
    params: {},
    plan: question.plan,
    plan_digest: question.plan_digest,
    effect: 'approve',
    tier: question.tier,
    reasons: question.decision.reasons as unknown as Reason[],
    policy_ids: [],
    manifest_version: question.manifest_version,
    ...(question.justification === null ? {} : { justification: question.justification }),
  });
  const written = await store.run(batchStatement, [
    JSON.stringify(question),
    question.session_id,
    now,
    grants.map(({ id }) => id),
    noticeChannels.map(() => newId('ntc', now)),
    [...noticeChannels],
    requestId,
    JSON.stringify(audit),
  ]);
  return written.length > 0;
}

function questionAbout({ store, providers }: TogetherDeps, grants: readonly Grant[], now: Date): Question {
  const [first] = grants as [Grant];
  const id = newId('gnt', now);
  const { approval = null, expires_seconds = null } = first.decision as unknown as Decision;
  const plan = batchPlan(grants.map((grant) => memberOf(providers, grant)));
  return makeQuestion(store, {
    id,
    session_id: first.sessionId,
    agent: first.agent,
    capability: aboutBatch(first.capability),
    idempotency_key: id,
    request_digest: planDigest(plan),
    manifest_version: first.manifestVersion,
    plan,
    tier: first.tier,
    justification: wordsOf(grants),
    at: now,
    decide_by: new Date(Math.min(...grants.map(({ decideBy }) => decideBy?.getTime() ?? 0))),
    sealed_arguments: null,
    reasons: [{ code: 'needs_approval' }],
    approval,
    expires_seconds,
  });
}

function memberOf(providers: TogetherDeps['providers'], { id, capability, plan: stored }: Grant): BatchMember {
  const plan = stored as unknown as Plan;
  const described = providers.get(plan.provider)?.describe(plan);
  if (described === undefined) throw new Error(`the provider ${plan.provider} planned it, and is not there`);
  return { grant: id, capability, plan, summary: described.summary, revocability: described.revocability.text };
}

/** What the agent says of each, by its number in the list. */
function wordsOf(grants: readonly Grant[]): string | null {
  const said = grants.map(({ justification }) => justification?.trim() ?? '');
  const [first] = said;
  if (said.every((text) => text === '')) return null;
  if (said.every((text) => text === first)) return first ?? null;
  return said.flatMap((text, index) => (text === '' ? [] : [`${index + 1}. ${text}`])).join('\n');
}

async function tellAlone({ store, clock, noticeChannels }: TogetherDeps, grantId: string): Promise<void> {
  const now = clock.now();
  const ids = noticeChannels.map(() => newId('ntc', now));
  await store.run(aloneStatement, [grantId, ids, [...noticeChannels], now]);
}
