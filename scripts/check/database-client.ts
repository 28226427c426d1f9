/** The database client in git must be what `schema.prisma` gives: what it does not know is not read. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { generateClient } from '../generate-prisma.ts';
import type { Part } from './part.ts';

const output = 'broker/store/prisma';

const filesIn = (folder: string): Map<string, string> =>
  new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [relative(folder, path), readFileSync(path, 'utf8')]),
  );

/** @returns a fault for each file that differs, is missing, or is nobody's */
export function clientFaults(own: ReadonlyMap<string, string>, fresh: ReadonlyMap<string, string>): string[] {
  const paths = [...new Set([...own.keys(), ...fresh.keys()])].toSorted();
  return paths
    .filter((path) => own.get(path) !== fresh.get(path))
    .map((path) => `${output}/${path} is not what prisma/schema.prisma gives; run npm run generate`);
}

export const databaseClient: Part = {
  name: 'database client',
  run: async (root) => {
    const cache = join(root, 'node_modules/.cache/writ');
    mkdirSync(cache, { recursive: true });
    const folder = mkdtempSync(join(cache, 'client-'));
    try {
      // The same place relative to the root: the schema is part of what is generated.
      mkdirSync(join(folder, 'prisma'));
      const schema = join(folder, 'prisma/schema.prisma');
      writeFileSync(schema, readFileSync(join(root, 'prisma/schema.prisma')));
      generateClient(schema, root);
      const [own, fresh] = [filesIn(join(root, output)), filesIn(join(folder, output))];
      return { faults: clientFaults(own, fresh), notes: [`${fresh.size} files`] };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};
