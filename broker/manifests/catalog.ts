/**
 * The manifests this process decides with, loaded from the database by version. The version in force is read
 * with every request (`SessionFacts`), so a publication on another process takes effect with the next
 * request, without a message between processes.
 */
import { WritError } from '../core/errors.ts';
import type { Store } from '../store/open.ts';
import type { CompiledManifest } from './compile.ts';
import { lastOnRecord, manifestHolds, type PublishedManifest } from './publish.ts';

export interface Catalog {
  /**
   * @throws WritError `unavailable` when that version cannot be read: nothing is decided on a manifest we do
   *   not have
   */
  version(agent: string, version: number): Promise<PublishedManifest>;
  /**
   * The version that a statement has read as the one in force.
   * @throws WritError `unavailable` as `version` does, and when a newer one has been published: versions only
   *   count up, so that the row was set back
   */
  inForce(agent: string, version: number): Promise<PublishedManifest>;
  /** The version in force; null = the agent is not registered. */
  current(agent: string): Promise<PublishedManifest | null>;
  /**
   * The version that was in force when this process last read it, without reading again; null = never read.
   * The statement that acts on it must check in the database that it is still in force.
   */
  lastSeen(agent: string): Promise<PublishedManifest | null>;
}

const unavailable = (why: string) => new WritError('unavailable', { cause: new Error(why) });

/**
 * Versions kept per process; an agent has one in force, older ones are asked for only around a publication.
 */
const limit = 1_000;

export function createCatalog(store: Store): Catalog {
  const loaded = new Map<string, Promise<PublishedManifest>>();
  const seen = new Map<string, number>();

  /** The newest version of each agent that this process knows of. */
  const newest = new Map<string, number>();

  async function load(agent: string, version: number): Promise<PublishedManifest> {
    const row = await store.prisma.manifest.findUnique({ where: { agent_version: { agent, version } } });
    if (row === null) throw unavailable(`manifest ${agent} v${version} is missing`);
    if (!manifestHolds(store, row)) throw unavailable(`manifest ${agent} v${version} is not as it was published`);
    return { agent, version, sha256: row.sha256, compiled: row.compiled as unknown as CompiledManifest };
  }

  async function inForce(agent: string, number: number): Promise<PublishedManifest> {
    if (!newest.has(agent)) {
      const later = await store.prisma.manifest.findMany({ where: { agent, version: { gt: number } } });
      const published = later.filter((row) => manifestHolds(store, row)).map((row) => row.version);
      const last = Math.max(number, ...published, await lastOnRecord(store, agent));
      if (newest.size >= limit) newest.clear();
      newest.set(agent, Math.max(last, newest.get(agent) ?? 0));
    }
    const last = newest.get(agent) ?? 0;
    if (number < last) {
      // What the caller read may have been replaced since by what another request of this process has seen.
      const now = await store.prisma.agent.findUnique({ where: { name: agent } });
      if (now === null || now.version < last)
        throw unavailable(`manifest ${agent} v${now?.version} is in force, but v${last} was published`);
      return inForce(agent, now.version);
    }
    const published = await version(agent, number);
    newest.set(agent, Math.max(number, newest.get(agent) ?? 0));
    if (seen.size >= limit) seen.clear();
    seen.set(agent, number);
    return published;
  }

  function version(agent: string, number: number): Promise<PublishedManifest> {
    const key = `${agent}@${number}`;
    let entry = loaded.get(key);
    if (entry === undefined) {
      if (loaded.size >= limit) loaded.delete(loaded.keys().next().value!);
      entry = load(agent, number);
      entry.catch(() => loaded.delete(key));
      loaded.set(key, entry);
    }
    return entry;
  }

  return {
    version,
    inForce,
    current: async (agent) => {
      const row = await store.prisma.agent.findUnique({ where: { name: agent } });
      return row === null ? null : inForce(agent, row.version);
    },
    lastSeen: async (agent) => {
      const number = seen.get(agent);
      return number === undefined ? null : version(agent, number);
    },
  };
}
