/**
 * What agents share at a provider: places for denials in a role's document, and the members of a pool. Before
 * anything is minted, a place is held for the new lease, so that its denial fits whatever happens to the
 * others: one ending cuts off nobody, and no agent takes what others need. The rule, and who is counted, is
 * in the function `writ_room` of the database (prisma/migrations).
 */
import { keepAfterEndMs } from '../../providers/contract.ts';
import type { Plan } from '../core/vocabulary.ts';

/** Why nothing more may be taken: no room for anybody, or the agent has its share. */
export const roomReasons = ['document_full', 'share_taken'] as const;
export type NoRoom = (typeof roomReasons)[number];

/** What a lease takes a part of, besides other agents. */
export interface SharedRoom {
  /** Denials that the document of the lease's `lockKey` holds; null = nothing is counted. */
  denials: number | null;
  /** All members of the provider's pool, where the lease needs one; null = it needs none. */
  members: string[] | null;
  /** What ended at its provider before this has ended (provider-time.ts). */
  endedBefore: Date;
}

/**
 * The CTEs `room` (`why`, null = there is room) and `roomy` (`ok`); stands after a CTE `held` with one row
 * `ok`. Whoever takes of the same thing waits until this transaction ends. Lock order of every statement:
 * sessions, then agents, then this.
 */
export const holdRoom = (sql: {
  provider: string;
  agent: string;
  lockKey: string;
  denials: string;
  members: string;
  endedBefore: string;
}): string => `
    room AS MATERIALIZED (
      SELECT held.ok, CASE WHEN held.ok THEN
        writ_room(${sql.provider}, ${sql.agent}, ${sql.lockKey}, ${sql.denials}::int, ${sql.members}::text[], ${sql.endedBefore}::timestamptz - interval '${keepAfterEndMs / 1000} seconds') END AS why FROM held
    ), roomy AS MATERIALIZED (SELECT ok AND why IS NULL AS ok FROM room)`;

/** In words, for the agent. */
export const noRoomWords = (why: NoRoom, plan: Plan): string =>
  why === 'document_full'
    ? `One more credential could not be revoked: the ${plan.provider} document that would deny it is full until others have ended.`
    : `The agent holds its share of what it shares with others at ${plan.provider}; it may have more when some of its own have ended.`;
