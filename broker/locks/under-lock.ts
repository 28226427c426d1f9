/** What lives under a lock, as SQL conditions. */
import type { LockTarget } from '../core/vocabulary.ts';
import type { Statement, Store } from '../store/open.ts';

/** A lock that was found to stand. */
export interface StandingLock extends LockTarget {
  id: string;
  /** Proof of the lift that lifts nothing, because it is no true one; null = there is no lift. */
  untrueLift: string | null;
}

/**
 * SQL condition: no other lift is there than the one that was looked at. What lives beside a lock that was
 * lifted meanwhile may have begun after it, and lives on.
 * @param lock SQL of `StandingLock.id`
 * @param untrueLift SQL of `StandingLock.untrueLift`
 */
export const stillStands = (lock: string, untrueLift: string): string =>
  `(SELECT lift.proof FROM access_lock_lift lift WHERE lift.lock_id = ${lock}::text) IS NOT DISTINCT FROM ${untrueLift}::text`;

/** A lock as the statements take it. */
export interface Scope {
  level: LockTarget['level'];
  subject: string;
  /** Agents whose sessions it ends; null = it ends no sessions, or those of all agents. */
  agents: string[] | null;
}

const ownedStatement: Statement = {
  name: 'lock_owned_agents',
  text: `
    SELECT a.name FROM agent a JOIN manifest m ON m.agent = a.name AND m.version = a.version
    WHERE m.compiled #>> '{manifest,owner}' = $1::text`,
};

/** The agents that an owner has by the manifests in force are asked for anew each time. */
export async function scopeOf(store: Store, { level, subject }: LockTarget): Promise<Scope> {
  if (level === 'agent') return { level, subject, agents: [subject] };
  if (level !== 'owner') return { level, subject, agents: null };
  const owned = await store.run<{ name: string }>(ownedStatement, [subject]);
  return { level, subject, agents: owned.map(({ name }) => name) };
}

/** Whether the lock stops whole sessions, and not only what they hold of a kind. */
export const endsSessions = ({ level }: LockTarget): boolean => level !== 'capability' && level !== 'provider';

/** SQL condition on a session of a lock that ends sessions. @param agents SQL of `Scope.agents` */
export const sessionUnder = (s: string, agents: string): string =>
  `(${agents}::text[] IS NULL OR ${s}.agent = ANY(${agents}::text[]))`;

/** SQL condition on a grant, of a lock on a capability or a provider. */
export const grantUnder = (g: string, level: string, subject: string): string => `
      CASE ${level}::text WHEN 'capability' THEN ${subject}::text IN (${g}.capability, ${g}.agent || '/' || ${g}.capability)
        WHEN 'provider' THEN ${g}.provider = ${subject}::text ELSE false END`;

/** SQL condition on a lease, of a lock on a capability or a provider. */
export const leaseUnder = (l: string, level: string, subject: string): string => `
      CASE ${level}::text WHEN 'capability' THEN EXISTS (SELECT 1 FROM grants lg WHERE lg.id = ${l}.grant_id AND ${subject}::text IN (lg.capability, lg.agent || '/' || lg.capability))
        WHEN 'provider' THEN ${l}.provider = ${subject}::text ELSE false END`;
