/** Handles a heartbeat: extends the deadline and returns the next token. */
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';
import type { SessionFacts } from './authenticate.ts';
import { mayAct } from './live-session.ts';
import type { MintedToken, SessionTokens } from './session-token.ts';

const beatStatement: Statement = {
  name: 'session_heartbeat',
  text: `UPDATE session s SET heartbeat_deadline = $2::timestamptz WHERE s.id = $1 AND ${mayAct('s', '$3::timestamptz')} RETURNING s.id`,
};

export interface HeartbeatDeps {
  store: Store;
  clock: Clock;
  tokens: SessionTokens;
  heartbeat: { seconds: number; misses: number };
}

/**
 * A suspended session is given a token, so that its agent can go on once it is lifted; nothing of it changes.
 * @throws WritError `session_ended`, also when it ended between the read and now
 */
export async function heartbeat(deps: HeartbeatDeps, session: SessionFacts): Promise<MintedToken> {
  if (session.status === 'ended') throw new WritError('session_ended');
  if (session.status === 'asleep') throw new WritError('session_asleep');
  const now = deps.clock.now();
  const deadline = new Date(now.getTime() + deps.heartbeat.seconds * deps.heartbeat.misses * 1000);
  const beaten =
    session.status === 'suspended' || (await deps.store.run(beatStatement, [session.id, deadline, now])).length > 0;
  if (!beaten) throw new WritError('session_ended');
  return deps.tokens.mint({
    id: session.id,
    agent: session.agent,
    taskType: session.task.task_type,
    jkt: session.jkt,
    act: session.subject.act ?? null,
    expiresAt: session.expiresAt,
  });
}
