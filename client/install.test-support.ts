/**
 * Packs our packages and installs them as a user does, without a network: what they depend on is taken from
 * this repository's node_modules.
 */
import { execFile } from 'node:child_process';
import { access, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

export const run = promisify(execFile);
export const repository = join(import.meta.dirname, '..');

interface LockEntry {
  dependencies?: { [name: string]: string };
}

/**
 * Packs the package in `source` (building it) and installs the tarball in `project`, which is made.
 * @returns the names of everything installed there
 */
export async function installPacked(source: string, project: string): Promise<string[]> {
  await mkdir(project, { recursive: true });
  // A cache of its own: nothing that this machine happens to have.
  const env = { ...process.env, npm_config_cache: join(project, '.npm'), npm_config_offline: 'true' };
  await run('npm', ['pack', '--silent', '--pack-destination', project], { cwd: source, env });
  const [tarball] = (await readdir(project)).filter((file) => file.endsWith('.tgz'));
  const { name, dependencies } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8')) as {
    name: string;
    dependencies: { [name: string]: string };
  };
  const local = (await withTheirs(Object.keys(dependencies))).map((one) => [
    one,
    `file:${join(repository, 'node_modules', one)}`,
  ]);
  const manifest = {
    type: 'module',
    private: true,
    dependencies: { ...Object.fromEntries(local), [name]: `file:${tarball}` },
  };
  await writeFile(join(project, 'package.json'), JSON.stringify(manifest));
  // Copies, not links: what is not in the project cannot be found from it.
  const options = ['--install-links', '--ignore-scripts', '--no-package-lock'];
  await run('npm', ['install', ...options], { cwd: project, env });
  return installedIn(project);
}

/**
 * The packages and all that they depend on, as package-lock.json has them. None of ours has two versions of
 * one.
 */
async function withTheirs(names: string[]): Promise<string[]> {
  const lock = JSON.parse(await readFile(join(repository, 'package-lock.json'), 'utf8')) as {
    packages: { [path: string]: LockEntry };
  };
  const all = new Set(names);
  // A Set grows while it is walked.
  for (const name of all)
    for (const next of Object.keys(lock.packages[`node_modules/${name}`]?.dependencies ?? {})) all.add(next);
  return [...all];
}

/** The names of the packages in a project's node_modules, nested ones too, as they lie there. */
async function installedIn(project: string): Promise<string[]> {
  const files = await readdir(join(project, 'node_modules'), { recursive: true });
  const manifest = /^(?:.*node_modules\/)?((?:@[^/]+\/)?[^@/][^/]*)\/package\.json$/;
  return files.flatMap((file) => manifest.exec(file)?.[1] ?? []).sort();
}

/** Where an agent's machine must have none of it: the broker's own framework, database client and clouds. */
export const ofTheBroker = (name: string) =>
  /^(@prisma\/|prisma$|express$|@aws-sdk\/|@google-cloud\/|@octokit\/)/.test(name);

/**
 * The first Node in PATH that is not the one of the repository's dependencies; null when it is older than 20
 * or not there.
 */
export async function ownNode(): Promise<{ path: string; version: string } | null> {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, 'node');
    const missing = await access(path).then(
      () => false,
      () => true,
    );
    if (folder.includes('node_modules') || missing) continue;
    const version = (await run(path, ['--version'])).stdout.trim().slice(1);
    return Number.parseInt(version, 10) >= 20 ? { path, version } : null;
  }
  return null;
}
