/** A session as the token endpoint tells of it: what was opened or woken, and within which bounds. */
import { userText, type VouchedPerson } from '../core/identifier.ts';
import type { Task } from '../core/vocabulary.ts';
import type { MintedToken } from './session-token.ts';

export interface OpenedSession {
  id: string;
  agent: string;
  expiresAt: Date;
  token: MintedToken;
  /** The task as it holds: what was declared, within all bounds. */
  task: Task & { envelope: { wall_time_seconds: number; max_grants?: number }; on_behalf_of?: string };
  /** Names of the capabilities that it may ask for. */
  scope: string[];
}

/** @param declared whom it acts for in the agent's own word; the platform's comes first */
export function taskAsItHolds(
  task: Task,
  bounds: { from: Date; expiresAt: Date; maxGrants: number | null },
  { vouched, declared }: { vouched: VouchedPerson | null; declared: string | null },
): OpenedSession['task'] {
  const onBehalfOf = vouched === null ? declared : userText(vouched);
  return {
    ...task,
    envelope: {
      wall_time_seconds: Math.floor((bounds.expiresAt.getTime() - bounds.from.getTime()) / 1000),
      ...(bounds.maxGrants === null ? {} : { max_grants: bounds.maxGrants }),
    },
    ...(onBehalfOf === null ? {} : { on_behalf_of: onBehalfOf }),
  };
}
