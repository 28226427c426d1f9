/** What must not be in any tracked file: paths of the machine somebody worked on, and the host of the registry they install from. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './command.ts';
import type { Part } from './part.ts';

/** An absolute path into somebody's home, workspace or temporary folder, not preceded by what would make it part of an address. */
const machinePath = /(?<![\w.:/@-])\/(?:home|root|Users|work|mnt|tmp)\/[\w.-]+/;

/** @param registryHost null when packages come from npm's public registry, whose name is no secret */
export function wordFaults(path: string, text: string, registryHost: string | null): string[] {
  return text.split('\n').flatMap((line, at) => {
    const found = machinePath.exec(line)?.[0];
    return [
      ...(found === undefined ? [] : [`${path}:${at + 1}: ${found} is a path of one machine`]),
      ...(registryHost !== null && line.includes(registryHost) ? [`${path}:${at + 1}: names a package registry`] : []),
    ];
  });
}

/** The host that npm is configured with here, unless it is the public one. */
export function privateRegistryHost(npmAnswer: string): string | null {
  const address = npmAnswer.split('\n').find((line) => /^https?:\/\//.test(line));
  if (address === undefined) throw new Error('npm does not say which registry it uses');
  const { hostname } = new URL(address.trim());
  return hostname === 'registry.npmjs.org' ? null : hostname;
}

export const words: Part = {
  name: 'no traces of a machine',
  run: async (root) => {
    const registry = await run('npm', ['config', 'get', 'registry'], root);
    const host = privateRegistryHost(registry.output);
    const tracked = await run('git', ['ls-files', '-z'], root);
    if (tracked.status !== 0) return { faults: [`git does not list the tracked files: ${tracked.output}`], notes: [] };
    const paths = tracked.output.split('\0').filter((path) => path !== '');
    const faults = await Promise.all(
      paths.map(async (path) => {
        // Tracked but deleted in this working tree: nothing to read.
        const text = await readFile(join(root, path), 'utf8').catch(() => '');
        return wordFaults(path, text, host);
      }),
    );
    return { faults: faults.flat(), notes: [`${paths.length} tracked files`] };
  },
};
