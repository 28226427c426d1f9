/**
 * The worker's side of an owner who is gone: people are told once, and when the grace is over the agent opens
 * nothing more and its sessions end. Every step is one statement that does nothing where another has done it,
 * and each tick starts from what is true then: whoever dies in between leaves what the next one goes on with.
 */
import { insertIncident, type Telling } from '../../approvals/incidents.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { newId } from '../core/ids.ts';
import { agentsOf, isOwnedBy, markOwner, type OwnedAgent } from '../manifests/owner-marks.ts';
import { type EndSessionDeps, endSessions } from '../sessions/end-session.ts';
import type { Statement } from '../store/open.ts';
import { endOfGrace, type GoneOwner, goneOwners, nothingSaidSince } from './owner-presence.ts';

export interface OwnerWatch {
  graceSeconds: number;
  /** Names of the channels that deliver. */
  noticeChannels: readonly string[];
  /** `team:…` and `user:…` that are told beside the owner. */
  alerts: readonly string[];
  /** Agents whose owner is gone. */
  gauge: { set(count: number): void };
}

type WatchDeps = EndSessionDeps & OwnerWatch;

const step = 200;

const tellStatement: Statement = {
  name: 'owner_gone_tell',
  text: `
    WITH marked AS (${markOwner('$1::text', '$2::int', '$3::text', 'NULL')}), told AS (
      SELECT NULL::text AS session_id, $4::timestamptz AS at, $6::jsonb AS tells FROM marked
    ), notices AS (${insertIncident('told')}
    )
    ${appendEvent({ chain: "'agent:' || name", at: '$4::timestamptz', type: event('agent.owner_gone'), actor: "'system'", payload: '$5::json' }, 'marked')}`,
};

const stopStatement: Statement = {
  name: 'owner_gone_stop',
  text: markOwner('$1::text', '$2::int', '$3::text', '$4::text'),
};

const takenOverStatement: Statement = {
  name: 'owner_taken_over',
  text: `
    WITH marked AS (${markOwner('$1::text', '$2::int', 'NULL', 'NULL')})
    ${appendEvent({ chain: "'agent:' || name", at: '$3::timestamptz', type: event('agent.owner_taken_over'), actor: "'system'", payload: '$4::json' }, 'marked')}`,
};

const backStatement: Statement = {
  name: 'owner_back',
  text: `
    WITH marked AS (${markOwner('$1::text', '$2::int', 'NULL', 'NULL')})
    ${appendEvent({ chain: "'agent:' || name", at: '$3::timestamptz', type: event('agent.owner_back'), actor: "'system'", payload: '$4::json' }, 'marked')}`,
};

/** Whoever is back meanwhile has sessions that began after it. */
const liveRootsStatement: Statement = {
  name: 'owner_gone_roots',
  text: `
    SELECT s.id FROM session s WHERE s.agent = $1::text AND s.ended_at IS NULL AND s.parent_id IS NULL AND ${isOwnedBy('$1::text', '$2::text')}
      AND ${nothingSaidSince('$2', '$3')}
    ORDER BY s.id LIMIT ${step}`,
};

/** One pass: what is to be told is told, what is over ends, what was taken over goes on. */
export async function watchOwners(deps: WatchDeps, now: Date): Promise<void> {
  const gone = await goneOwners(deps.store);
  const agents = await agentsOf(deps.store, [...gone.keys()]);
  deps.gauge.set(agents.filter(({ owner }) => gone.has(owner)).length);
  for (const agent of agents) {
    const absence = gone.get(agent.owner);
    if (absence === undefined) await goOn(deps, agent, now);
    else await holdTo(deps, agent, absence, now);
  }
}

async function holdTo(deps: WatchDeps, { agent, version, ...is }: OwnedAgent, gone: GoneOwner, now: Date) {
  const { owner } = is;
  const endsAt = endOfGrace(gone, deps.graceSeconds);
  const over = endsAt <= now;
  if (is.owner_gone !== owner) {
    const since = gone.since.toISOString();
    const ends_at = endsAt.toISOString();
    const { signal, event: said } = gone;
    const payload = eventPayload('agent.owner_gone', { owner, since, signal, event: said, ends_at });
    const tells: Telling = {
      ids: deps.noticeChannels.map(() => newId('ntc', now)),
      channels: [...deps.noticeChannels],
      incident: { agent, owner, alerts: deps.alerts, happening: { what: 'owner_gone', event: said, ends_at } },
    };
    const values = [agent, version, owner, now, JSON.stringify(payload), JSON.stringify(tells)];
    await deps.store.run(tellStatement, values);
  }
  const stopped = over ? owner : null;
  if (is.stopped_owner !== stopped) await deps.store.run(stopStatement, [agent, version, owner, stopped]);
  if (!over) return;
  for (let found = step; found === step; ) {
    const roots = await deps.store.run<{ id: string }>(liveRootsStatement, [agent, owner, gone.rows]);
    found = roots.length;
    const end = { reason: 'owner_gone', actor: 'system', requestId: null, now } as const;
    if (found > 0) await endSessions(deps, { ...end, sessionIds: roots.map(({ id }) => id) });
  }
}

/** Its owner is here: another than was gone, or the same again. */
async function goOn(deps: WatchDeps, { agent, version, owner, owner_gone, stopped_owner }: OwnedAgent, now: Date) {
  const from = owner_gone ?? stopped_owner ?? owner;
  if (from === owner) {
    const payload = eventPayload('agent.owner_back', { owner });
    await deps.store.run(backStatement, [agent, version, now, JSON.stringify(payload)]);
  } else {
    const payload = eventPayload('agent.owner_taken_over', { owner, from, version });
    await deps.store.run(takenOverStatement, [agent, version, now, JSON.stringify(payload)]);
  }
}
