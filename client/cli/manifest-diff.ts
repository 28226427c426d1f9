/** `writ manifest diff`: what another version changes, in words, and whether it allows more. */
import type { CompiledManifest } from '../../broker/manifests/compile.ts';
import { diffManifests, isWidening } from '../../broker/manifests/diff.ts';
import type { Change } from '../../broker/manifests/diff-change.ts';
import type { Manifest } from '../../broker/manifests/manifest.ts';
import { readManifest } from '../../broker/manifests/read.ts';
import { type Environment, findAsAdmin } from './admin.ts';
import { CommandError } from './broker-side.ts';
import { manifestOf, shapes, visible } from './manifest-files.ts';

export { visible } from './manifest-files.ts';

/** A version as a broker has it. */
export interface Version {
  agent: string;
  version: number;
  sha256: string;
  source: string;
  /** false: it was changed in the database, and is never decided on. */
  proven: boolean;
}

export interface DiffOptions {
  /** A file, the number of a version, or a time at which one was in force; absent = what is in force now. */
  against: string | undefined;
  failOnWidening: boolean;
  json: boolean;
}

/**
 * Compares a manifest in a file with another one.
 * @returns 0; 1 when the file has faults, and with `failOnWidening` when it allows more
 * @throws CommandError when the broker is asked, and does not answer or has no such version
 */
export async function diffFile(env: Environment, file: string, options: DiffOptions): Promise<number> {
  const after = await manifestOf(file);
  if (after === null) return 1;
  const before = await otherSide(env, after.agent, options.against);
  if (before === 'has faults') return 1;
  const changes = diffManifests(before.manifest, after.manifest);
  const widens = isWidening(changes);
  if (options.json) console.log(JSON.stringify({ against: before.name, widens, changes }, null, 2));
  else {
    printChanges(changes);
    console.log(summary(changes, before.name));
  }
  return widens && options.failOnWidening ? 1 : 0;
}

async function otherSide(
  env: Environment,
  agent: string,
  against: string | undefined,
): Promise<{ manifest: Manifest | null; name: string } | 'has faults'> {
  if (against === undefined) {
    const current = await versionInForce(env, agent);
    return {
      manifest: current === null ? null : readVersion(current),
      name: current === null ? 'nothing' : 'what is in force',
    };
  }
  if (/^[1-9]\d{0,8}$/.test(against))
    return { manifest: readVersion(await fetchVersion(env, agent, `version=${against}`)), name: `version ${against}` };
  if (/^\d{4}-\d\d-\d\d/.test(against) && !Number.isNaN(Date.parse(against))) {
    const at = new Date(against).toISOString();
    const version = await fetchVersion(env, agent, `at=${encodeURIComponent(at)}`);
    return { manifest: readVersion(version), name: `version ${version.version}, in force at ${at}` };
  }
  const compiled: CompiledManifest | null = await manifestOf(against);
  return compiled === null ? 'has faults' : { manifest: compiled.manifest, name: against };
}

/**
 * @param query `version=3`, or `at=…`
 * @throws CommandError when there is none
 */
export async function fetchVersion(env: Environment, agent: string, query: string): Promise<Version> {
  const path = `/v1/admin/manifests/${encodeURIComponent(agent)}?${query}`;
  const version = (await findAsAdmin(env, path)) as Version | null;
  if (version === null) throw new CommandError(`the broker has no such version of ${visible(agent)}`);
  return version;
}

/** @returns null when the broker knows no such agent */
export const versionInForce = async (env: Environment, agent: string): Promise<Version | null> =>
  (await findAsAdmin(env, `/v1/admin/manifests/${encodeURIComponent(agent)}`)) as Version | null;

/** @throws CommandError when this version of the command cannot read it */
export function readVersion({ agent, version, source, proven }: Version): Manifest {
  if (!proven)
    throw new CommandError(`version ${version} of ${agent} is not as it was published, and is never decided on`);
  const read = readManifest(source, shapes);
  if (read.ok) return read.compiled.manifest;
  const [fault] = read.faults;
  throw new CommandError(`version ${version} of ${agent} cannot be read here: ${fault?.path}: ${fault?.message}`);
}

const marks = { widens: '+', unknown: '?', narrows: '-', neither: '·' };

/** A line for each: `+` allows more, `?` nobody can tell, `-` allows less, `·` changes no decision. */
export function printChanges(changes: readonly Change[]): void {
  const order = ['widens', 'unknown', 'narrows', 'neither'] as const;
  for (const verdict of order)
    for (const change of changes.filter((one) => one.verdict === verdict))
      console.log(`${marks[verdict]} ${visible(change.text)}`);
}

export function summary(changes: readonly Change[], than: string): string {
  if (changes.length === 0) return `✔ the same as ${than}`;
  const untold = changes.filter(({ verdict }) => verdict === 'unknown').length;
  if (!isWidening(changes)) return `✔ allows no more than ${than}`;
  return `✘ allows more than ${than}${untold === 0 ? '' : ` (${untold} cannot be told, and count as more)`}`;
}
