/**
 * What must not be in any tracked file: paths of the machine somebody worked on, and the host of the registry
 * they install from.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './command.ts';
import type { Part } from './part.ts';

/**
 * An absolute path into somebody's home, workspace or temporary folder, not preceded by what would make it
 * part of an address.
 */
const machinePath = /(?<![\w.:/@-])\/(?:home|root|Users|work|mnt|tmp)\/[\w.-]+/;

export function wordFaults(path: string, text: string, registryHost: string): string[] {
  return text.split('\n').flatMap((line, at) => {
    const found = machinePath.exec(line)?.[0];
    return [
      ...(found === undefined ? [] : [`${path}:${at + 1}: ${found} is a path of one machine`]),
      ...(line.includes(registryHost) ? [`${path}:${at + 1}: names a package registry`] : []),
    ];
  });
}

/**
 * The host that npm is configured with here. Asked, not written down: it must not stand in this file either.
 */
export function registryHost(npmAnswer: string): string {
  const address = npmAnswer.split('\n').find((line) => /^https?:\/\//.test(line));
  if (address === undefined) throw new Error('npm does not say which registry it uses');
  return new URL(address.trim()).hostname;
}

export const words: Part = {
  name: 'no traces of a machine',
  run: async (root) => {
    const registry = await run('npm', ['config', 'get', 'registry'], root);
    const host = registryHost(registry.output);
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
