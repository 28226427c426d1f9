/**
 * Reports of calls, on their way to the broker. Whoever made the call does not wait for them; what is decided
 * next does, because what came back counts in it. One that the broker did not take stops every decision after
 * it: what it would have said is not known there.
 */
import { type CallReport, WritError } from '../index.ts';

export interface Reports {
  /** Begins to send it; another report of the same call takes the place of one that failed. */
  take(actionId: string, report: CallReport): void;
  /**
   * Waits until all that were taken have arrived; those that failed are sent once more.
   * @throws WritError of the first that fails again
   */
  delivered(): Promise<void>;
  /** Waits for those on their way, whether they arrive or not. */
  ended(): Promise<void>;
}

/** With these the broker says that the call is closed: by another report, or with its session. */
const closed = new Set(['conflict', 'not_found', 'session_ended']);

interface OnItsWay {
  report: CallReport;
  /** Never rejects: whether it has arrived. */
  sent: Promise<boolean>;
}

export function newReports(send: (actionId: string, report: CallReport) => Promise<void>): Reports {
  const open = new Map<string, OnItsWay>();

  const deliver = async (actionId: string, report: CallReport) => {
    try {
      await send(actionId, report);
    } catch (error) {
      if (!(error instanceof WritError && closed.has(error.code))) throw error;
    }
  };

  return {
    take: (actionId, report) => {
      const sent = deliver(actionId, report).then(
        () => {
          if (open.get(actionId) === one) open.delete(actionId);
          return true;
        },
        () => false,
      );
      const one: OnItsWay = { report, sent };
      open.set(actionId, one);
    },
    delivered: async () => {
      for (const [actionId, one] of [...open]) {
        if (await one.sent) continue;
        await deliver(actionId, one.report);
        if (open.get(actionId) === one) open.delete(actionId);
      }
    },
    ended: async () => {
      await Promise.all([...open.values()].map(({ sent }) => sent));
    },
  };
}
