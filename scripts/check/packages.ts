/** What is published on its own imports only what it declares: its users' machines have nothing else. */
import { readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { Part } from './part.ts';
import { readSources, type Source } from './sources.ts';

/** The packages that are published, each by the file that everything in it is reached from. */
const entries = ['client/index.ts', 'client/cli/writ.ts'];

export interface PublishedPackage {
  name: string;
  entry: string;
  dependencies: string[];
}

/** Package of an import: `@scope/name` or `name`, without a path inside it. */
const packageOf = (specifier: string) => /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier;

/**
 * Imports that the package does not declare, dependencies that it does not use, and files that are not there.
 */
export function packageFaults(sources: Source[], { name, entry, dependencies }: PublishedPackage): string[] {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const reached = new Set([entry]);
  const used = new Set<string>();
  const faults: string[] = [];
  // A Set grows while it is walked.
  for (const path of reached) {
    const source = byPath.get(path);
    if (source === undefined) {
      faults.push(`${name}: reaches ${path}, which is none of our sources`);
      continue;
    }
    for (const { specifier, target, line } of source.imports) {
      if (target !== null) reached.add(target);
      else if (specifier !== null && !specifier.startsWith('node:')) {
        used.add(packageOf(specifier));
        if (!dependencies.includes(packageOf(specifier)))
          faults.push(`${path}:${line}: imports ${specifier}, which the package ${name} does not depend on`);
      }
    }
  }
  for (const dependency of dependencies)
    if (!used.has(dependency)) faults.push(`${name}: depends on ${dependency}, which none of its files imports`);
  return faults;
}

export const packages: Part = {
  name: 'published packages',
  run: async (root) => {
    const sources = readSources(root);
    const published = await Promise.all(
      entries.map(async (entry): Promise<PublishedPackage> => {
        const text = await readFile(join(root, posix.dirname(entry), 'package.json'), 'utf8');
        const { name, dependencies } = JSON.parse(text) as { name: string; dependencies: Record<string, string> };
        return { name, entry, dependencies: Object.keys(dependencies) };
      }),
    );
    return {
      faults: published.flatMap((one) => packageFaults(sources, one)),
      notes: published.map(({ name, dependencies }) => `${name}: ${dependencies.join(', ')}`),
    };
  },
};
