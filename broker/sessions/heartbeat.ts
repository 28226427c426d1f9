/**
 * A session lives as long as its agent is heard of: by a heartbeat, which also returns the next token, or by
 * any other call.
 */
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

/** Of the time between two heartbeats: how long after one that was counted no other is. */
const justNow = 0.1;

/** How long a session lives after its last call, at least, in seconds. */
export const unheardSeconds = ({ seconds, misses }: { seconds: number; misses: number }): number =>
  Math.floor(seconds * (misses - justNow));

export interface HeartbeatDeps {
  store: Store;
  clock: Clock;
  tokens: SessionTokens;
  heartbeat: { seconds: number; misses: number };
}

/** Counts a call as a heartbeat, unless one was counted just now: few calls cost a statement. */
export async function heard(
  { store, clock, heartbeat: { seconds, misses } }: Pick<HeartbeatDeps, 'store' | 'clock' | 'heartbeat'>,
  session: SessionFacts,
): Promise<void> {
  const now = clock.now();
  const deadline = now.getTime() + seconds * misses * 1000;
  const known = session.heartbeatDeadline.getTime() + seconds * justNow * 1000;
  if (session.status !== 'active' || known >= deadline) return;
  await store.run(beatStatement, [session.id, new Date(deadline), now]);
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
