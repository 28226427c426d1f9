/** Everybody on the alert list, and the owner of the agent, is told through every channel that delivers. */
import type { BreakGlassHappening, Telling } from '../../approvals/incidents.ts';
import { newId } from '../core/ids.ts';
import type { StoredBreakGlass } from './stored-break-glass.ts';

export interface TellDeps {
  /** Names of the channels that deliver. */
  noticeChannels: readonly string[];
  /** `team:…` and `user:…`. */
  alerts: readonly string[];
}

type Told = Pick<StoredBreakGlass, 'id' | 'agent' | 'capabilities' | 'incident' | 'reason' | 'requested_by'> & {
  approved_by?: string | null;
};

/** @param owner of the agent @param until, ended see `BreakGlassHappening` */
export function tellingOf(
  { noticeChannels, alerts }: TellDeps,
  row: Told,
  owner: string,
  what: BreakGlassHappening['what'],
  until: Date | null,
  now: Date,
  ended?: BreakGlassHappening['ended'],
): Telling {
  return {
    ids: noticeChannels.map(() => newId('ntc', now)),
    channels: [...noticeChannels],
    incident: {
      agent: row.agent,
      owner,
      break_glass: row.id,
      alerts: [...alerts],
      happening: {
        what,
        by: [row.requested_by, ...(row.approved_by == null ? [] : [row.approved_by])],
        capabilities: row.capabilities.map(({ name }) => name),
        incident: row.incident,
        reason: row.reason,
        until: until?.toISOString() ?? null,
        ...(ended === undefined ? {} : { ended }),
      },
    },
  };
}
