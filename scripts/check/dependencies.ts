/**
 * What is installed besides our own code: that all of it is pinned, under a licence we can live with, and
 * runs nothing unasked at install time.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { installToolchain } from '../install-toolchain.ts';
import { exceptions, licenceAllowed } from './licences.ts';
import type { Finding, Part } from './part.ts';

/** The members of `package-lock.json` that are read here. */
export interface LockEntry {
  version?: string;
  license?: string;
  integrity?: string;
  resolved?: string;
  link?: boolean;
  dev?: boolean;
  devOptional?: boolean;
  hasInstallScript?: boolean;
}
/** Path in `node_modules` → entry; the root package is ''. */
export type Lock = Record<string, LockEntry>;

const nameOf = (path: string) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
const packagesOf = (lock: Lock) => Object.entries(lock).filter(([path]) => path !== '');

/**
 * @param lock the packages of `package-lock.json`
 * @param licenceOf the licence in the installed package itself, asked when the lock does not know it
 */
export function licenceFindings(lock: Lock, licenceOf: (path: string) => string | undefined): Finding {
  const faults: string[] = [];
  const excepted = new Set<string>();
  const count = { production: 0, development: 0 };
  for (const [path, entry] of packagesOf(lock)) {
    const name = nameOf(path);
    const kind = entry.dev || entry.devOptional ? 'development' : 'production';
    count[kind] += 1;
    const licence = entry.license ?? licenceOf(path);
    if (licence !== undefined && licenceAllowed(licence)) continue;
    if (kind === 'development' && exceptions[name] !== undefined) excepted.add(name);
    else
      faults.push(`${name}@${entry.version}: ${licence ?? 'no licence'} is not on the list for ${kind} dependencies`);
  }
  for (const name of Object.keys(exceptions)) {
    if (!excepted.has(name)) faults.push(`the exception for ${name} in licences.ts is not needed any more`);
  }
  const notes = [`${count.production} production and ${count.development} development packages`];
  return { faults, notes: [...notes, ...[...excepted].map((name) => `exception: ${name}, ${exceptions[name]}`)] };
}

/**
 * Every package has a checksum, none names the registry it came from, and nothing is installed that is not in
 * the lock.
 */
export function pinningFaults(lock: Lock, installed: Lock): string[] {
  return [
    ...packagesOf(lock).flatMap(([path, { integrity, resolved, link }]) => [
      ...(integrity === undefined && !link ? [`${path}: no checksum in package-lock.json`] : []),
      ...(resolved !== undefined
        ? [`${path}: package-lock.json names a registry (.npmrc: omit-lockfile-registry-resolved)`]
        : []),
    ]),
    ...packagesOf(installed).flatMap(([path, { version }]) =>
      lock[path]?.version === version
        ? []
        : [`${path}@${version} is installed but not what package-lock.json says; run npm ci`],
    ),
  ];
}

/**
 * @param allowScripts `allowScripts` of package.json: name → true (may run) or false (looked at, not needed,
 *   blocked by npm ≥ 11)
 */
export function installScriptFaults(lock: Lock, allowScripts: Record<string, boolean>): string[] {
  const withScripts = new Set(
    packagesOf(lock).flatMap(([path, entry]) => (entry.hasInstallScript ? [nameOf(path)] : [])),
  );
  return [
    ...[...withScripts]
      .filter((name) => allowScripts[name] === undefined)
      .map((name) => `${name} runs a script when it is installed and allowScripts in package.json does not mention it`),
    ...Object.keys(allowScripts)
      .filter((name) => !withScripts.has(name))
      .map((name) => `allowScripts mentions ${name}, which has no install script`),
  ];
}

async function readLock(file: string): Promise<Lock> {
  return (JSON.parse(await readFile(file, 'utf8')) as { packages: Lock }).packages;
}

/** Nothing of it ships. */
const toolchain = 'scripts/toolchain';

/** What the broker and its tests are installed by, and what only development is, as of development. */
async function readLocks(root: string): Promise<Lock> {
  const own = await readLock(join(root, 'package-lock.json'));
  const tools = packagesOf(await readLock(join(root, toolchain, 'package-lock.json')));
  return {
    ...own,
    ...Object.fromEntries(tools.map(([path, entry]) => [`${toolchain}/${path}`, { ...entry, dev: true }])),
  };
}

export const licences: Part = {
  name: 'licences of dependencies',
  run: async (root) => {
    const lock = await readLocks(root);
    const unknown = packagesOf(lock).filter(([, { license }]) => license === undefined);
    const own = await Promise.all(
      unknown.map(async ([path]) => {
        const text = await readFile(join(root, path, 'package.json'), 'utf8').catch(() => '{}');
        return [path, (JSON.parse(text) as { license?: string }).license] as const;
      }),
    );
    const byPath = new Map(own);
    return licenceFindings(lock, (path) => byPath.get(path));
  },
};

export const pinning: Part = {
  name: 'dependencies are pinned',
  run: async (root) => {
    installToolchain();
    const lock = await readLocks(root);
    // npm's own record of what it put into node_modules.
    const installed = await readLock(join(root, 'node_modules/.package-lock.json'));
    for (const [path, entry] of packagesOf(await readLock(join(root, toolchain, 'node_modules/.package-lock.json'))))
      installed[`${toolchain}/${path}`] = entry;
    return { faults: pinningFaults(lock, installed), notes: [`${packagesOf(installed).length} installed here`] };
  },
};

export const installScripts: Part = {
  name: 'install scripts',
  run: async (root) => {
    const lock = await readLocks(root);
    const allowScripts: Record<string, boolean> = {};
    for (const folder of [root, join(root, toolchain)])
      Object.assign(allowScripts, JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')).allowScripts);
    const mayRun = Object.keys(allowScripts).filter((name) => allowScripts[name]);
    return { faults: installScriptFaults(lock, allowScripts), notes: [`may run: ${mayRun.join(', ')}`] };
  },
};
