/** `writ manifest history` and `show`: the versions of a manifest, as a broker has them. */
import { askAdmin, type Environment } from './admin.ts';
import { CommandError } from './broker-side.ts';
import { fetchVersion, type Version, versionInForce, visible } from './manifest-diff.ts';

interface Listed extends Omit<Version, 'source'> {
  author: string;
  reason: string;
  published_at: string;
  in_force: boolean;
  agreed_by: string | null;
}

/** Every version, newest first: when it came into force, by whom, why. */
export async function showHistory(env: Environment, agent: string, json: boolean): Promise<number> {
  const all: Listed[] = [];
  let before = '';
  for (;;) {
    const path = `/v1/admin/manifests/${encodeURIComponent(agent)}/versions?limit=500${before}`;
    const { versions, next } = (await askAdmin(env, 'GET', path)) as { versions: Listed[]; next: number | null };
    all.push(...versions);
    if (next === null) break;
    before = `&before=${next}`;
  }
  if (json) console.log(JSON.stringify(all, null, 2));
  else for (const one of all) console.log(lineOf(one));
  return 0;
}

function lineOf({ version, published_at, author, agreed_by, reason, sha256, in_force, proven }: Listed): string {
  const by = agreed_by === null ? visible(author) : `${visible(author)}, agreed to by ${visible(agreed_by)}`;
  const notes = `${in_force ? '  (in force)' : ''}${proven ? '' : '  (changed in the database: never decided on)'}`;
  return `${version}  ${published_at}  ${sha256.slice(0, 12)}  ${by}: ${visible(reason)}${notes}`;
}

/**
 * Prints the YAML of a version.
 * @param of the number of a version, or a time; absent = what is in force
 */
export async function showVersion(env: Environment, agent: string, of: string | undefined): Promise<number> {
  const query = of === undefined ? null : /^\d{1,9}$/.test(of) ? `version=${of}` : `at=${encodeURIComponent(of)}`;
  const version = query === null ? await versionInForce(env, agent) : await fetchVersion(env, agent, query);
  if (version === null) throw new CommandError(`the broker has no agent ${visible(agent)}`);
  if (!version.proven)
    console.error(`✘ version ${version.version} is not as it was published, and is never decided on`);
  // Comments are not looked at by anything that reads it: on a terminal they could hide what follows.
  process.stdout.write(process.stdout.isTTY ? version.source.split('\n').map(visible).join('\n') : version.source);
  return version.proven ? 0 : 1;
}
