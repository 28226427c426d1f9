/**
 * A credential that Writ issued, in the arguments of a call or in what came back of one: an incident. Its
 * lease is revoked and people are told, whatever the manifest says. Calls without a word that could be a
 * token cost nothing more; of the others, one look at an index.
 */
import type { Logger } from 'pino';
import { insertIncident } from '../../approvals/incidents.ts';
import type { Clock, Json } from '../core/vocabulary.ts';
import { leakedStatement, leasesMarked, type Mark, marksIn, revokeLeaked } from '../leases/credential-marks.ts';
import { textsOf } from '../manifests/argument-texts.ts';
import type { Catalog } from '../manifests/catalog.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import type { Store } from '../store/open.ts';
import { tellingOf } from './tell-people.ts';

export interface LeakDeps {
  store: Store;
  clock: Clock;
  log: Logger;
  /** The digest by which the marks of leases are made. */
  mark: Mark;
  notify(): void;
  catalog: Catalog;
  noticeChannels: readonly string[];
}

const revokeAndTell = leakedStatement(insertIncident('telling'));

/** @returns whether there was one: its leases are on their way to their end */
export async function revokeIfLeaked(
  deps: LeakDeps,
  { id, agent, currentManifestVersion }: SessionFacts,
  values: { readonly [name: string]: Json },
  where: { tool: string; seen_in: 'arguments' | 'output' },
  requestId: string | null,
): Promise<boolean> {
  const { texts, values: written } = textsOf(values);
  const marks = marksIn(texts, written, deps.mark);
  if (marks.length === 0) return false;
  const leases = await leasesMarked(deps.store, marks);
  if (leases.length === 0) return false;
  const { manifest } = (await deps.catalog.version(agent, currentManifestVersion)).compiled;
  const now = deps.clock.now();
  const { tool: by, seen_in } = where;
  const telling = tellingOf(
    deps,
    agent,
    manifest,
    { what: 'credential_leaked', leases, by: `the tool ${by}`, seen_in },
    now,
  );
  await revokeLeaked(deps.store, revokeAndTell, { leases, session: id, agent, at: now, requestId, where, telling });
  deps.log.error({ alert: 'credential_leaked', agent, session: id, leases, ...where }, 'a credential was leaked');
  deps.notify();
  return true;
}
