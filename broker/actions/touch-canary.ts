/**
 * A request for a credential that touches a canary. Looked for before anything else, so that neither
 * malformed parameters nor another task type keeps a touch from ending the session. Of calls,
 * `request-action.ts` knows it.
 */
import type { Logger } from 'pino';
import { insertIncident } from '../../approvals/incidents.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import type { Clock, JsonObject } from '../core/vocabulary.ts';
import { touchesDecoy } from '../manifests/canaries.ts';
import { compiledCalls } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import { countActions } from '../sessions/counts.ts';
import { type EndSessionDeps, endSession } from '../sessions/end-session.ts';
import type { Statement } from '../store/open.ts';
import { grantFacts } from './evaluate-call.ts';
import { concerns } from './monitors.ts';
import { tellingOf } from './tell-people.ts';

/** Names of the canaries that a request for a capability touches. @param params as they were sent */
export function canariesOfGrant(manifest: Manifest, capability: string, params: JsonObject): string[] {
  const asked = grantFacts(manifest, capability, params, null);
  return compiledCalls(manifest).rules.flatMap(({ canary, on, when }) =>
    canary !== undefined &&
    concerns(on, asked) &&
    when.every(({ decoy }) => decoy === undefined || touchesDecoy(decoy, asked))
      ? [canary]
      : [],
  );
}

/** As a call that ends the session does, it takes the deadline of the tree in the statement of its row. */
const touchStatement: Statement = {
  name: 'canary_touched',
  text: `
    WITH touched AS (
      SELECT $2::text AS root_id, 'terminate' AS effect, $3::timestamptz AS at, NULL::text[] AS took
    ), bump AS (
${countActions('touched')}
    ), event AS (
      ${appendEvent({ chain: '$1::text', at: '$3::timestamptz', type: event('canary.touched'), actor: '$4::text', request: '$5::text', payload: '$6::json' })}
    ), telling AS (
      SELECT $1::text AS session_id, $3::timestamptz AS at, $7::jsonb AS tells
    ), told AS (${insertIncident('telling')}
    )
    SELECT 1 AS done`,
};

/** Tells people, and ends the session's tree. */
export async function touchedByGrant(
  deps: EndSessionDeps & { clock: Clock; log: Logger; noticeChannels: readonly string[] },
  manifest: Manifest,
  session: SessionFacts,
  touched: { canaries: string[]; capability: string },
  requestId: string | null,
): Promise<void> {
  const now = deps.clock.now();
  const payload = eventPayload('canary.touched', touched);
  await deps.store.run(touchStatement, [
    session.id,
    session.rootId,
    now,
    session.agent,
    requestId,
    JSON.stringify(payload),
    JSON.stringify(
      tellingOf(
        deps,
        session.agent,
        manifest,
        {
          what: 'canary_touched',
          canaries: touched.canaries,
          by: `the capability ${touched.capability}`,
        },
        now,
      ),
    ),
  ]);
  alertOf(deps.log, session, touched.canaries);
  await endSession(deps, { sessionId: session.rootId, reason: 'ended_by_rule', actor: 'system', requestId, now });
}

/** The line of the log that an alarm should watch for. */
export const alertOf = (log: Logger, { agent, id }: SessionFacts, canaries: readonly string[]) =>
  log.error({ alert: 'canary_touched', agent, session: id, canaries }, 'a decoy was touched');
