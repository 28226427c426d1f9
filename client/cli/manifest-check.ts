/** `writ manifest check`: the broker's own reading of manifests, without a broker. */
import { readFile } from 'node:fs/promises';
import { cedarSchemaOf, readManifest } from '../../broker/manifests/read.ts';
import { providerParams } from '../../providers/params.ts';

/**
 * Parses, checks and compiles each file, against every provider's parameters whether it is switched on
 * somewhere or not.
 *
 * @returns 0 when all of them could be published, else 1; each fault is printed with file, line, column and
 *   path
 * @throws Error when a file cannot be read
 */
export async function checkManifests(files: string[]): Promise<number> {
  const shapes = Object.fromEntries(Object.entries(providerParams).map(([name, params]) => [name, { params }]));
  let failed = 0;
  for (const file of files) {
    const read = readManifest(await readFile(file, 'utf8'), shapes);
    if (read.ok) {
      const { agent, capabilities, task_types } = read.compiled.manifest;
      const counts = `${Object.keys(task_types).length} task types, ${Object.keys(capabilities).length} capabilities`;
      console.log(`✔ ${file}: ${agent}, ${counts}`);
      continue;
    }
    failed += 1;
    for (const { line = 1, column = 1, path, message } of read.faults)
      console.error(`✘ ${file}:${line}:${column}: ${path}: ${message}`);
  }
  return failed === 0 ? 0 : 1;
}

/** Prints the Cedar schema of a manifest, for editors. @returns 0, or 1 when the manifest has faults */
export async function showCedarSchema(file: string): Promise<number> {
  const shapes = Object.fromEntries(Object.entries(providerParams).map(([name, params]) => [name, { params }]));
  const read = readManifest(await readFile(file, 'utf8'), shapes);
  // Its own policies may not be right yet: that is what the schema is wanted for.
  const faults = read.ok ? [] : read.faults.filter(({ path }) => path !== 'cedar');
  if (!read.ok && faults.length === 0) return showCedarSchema(file);
  for (const { line = 1, column = 1, path, message } of faults)
    console.error(`✘ ${file}:${line}:${column}: ${path}: ${message}`);
  if (read.ok) console.log(cedarSchemaOf(read.compiled).trimEnd());
  return read.ok ? 0 : 1;
}
