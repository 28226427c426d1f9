/**
 * `writ manifest check`: the broker's own reading of manifests and of their cases, without a broker; what
 * hangs on a broker's settings is asked there when it is wanted.
 */
import { readFile } from 'node:fs/promises';
import { isCasesFile, readCases } from '../../broker/cases/read-cases.ts';
import { agentOf, cedarSchemaOf } from '../../broker/manifests/read.ts';
import { type Environment, faultsAtBroker } from './admin.ts';
import { manifestOf, printFaults, shapes } from './manifest-files.ts';

/**
 * Parses, checks and compiles each file, against every provider whether it is switched on somewhere or not.
 * Files of cases are parsed and checked.
 *
 * @param broker where its settings are to be asked for too: which roles, owners, accounts there are
 * @returns 0 when all of them could be published, else 1; each fault is printed with file, line, column and
 *   path
 * @throws Error when a file cannot be read
 */
export async function checkManifests(files: string[], broker: Environment | null): Promise<number> {
  let failed = 0;
  const fileOf = new Map<string, string>();
  for (const file of files) {
    const words = await (isCasesFile(file) ? checkCases(file) : checkManifest(file, broker, fileOf));
    if (words === null) failed += 1;
    else console.log(`✔ ${file}: ${words}`);
  }
  return failed === 0 ? 0 : 1;
}

async function checkManifest(
  file: string,
  broker: Environment | null,
  fileOf: Map<string, string>,
): Promise<string | null> {
  const source = await readFile(file, 'utf8');
  const named = agentOf(source);
  const other = named === null ? undefined : fileOf.get(named);
  if (named !== null && other === undefined) fileOf.set(named, file);
  const compiled = await manifestOf(file);
  if (other !== undefined && other !== file) {
    printFaults(file, [{ path: 'agent', message: `${named} has a manifest in ${other} too: an agent has one` }]);
    return null;
  }
  if (compiled === null) return null;
  if (broker !== null) {
    const faults = await faultsAtBroker(broker, '/v1/admin/manifest-checks', source);
    printFaults(file, faults);
    if (faults.length > 0) return null;
  }
  const { agent, capabilities, task_types } = compiled.manifest;
  return `${agent}, ${Object.keys(task_types).length} task types, ${Object.keys(capabilities).length} capabilities`;
}

async function checkCases(file: string): Promise<string | null> {
  const read = readCases(await readFile(file, 'utf8'));
  if (read.ok) return `${read.cases.cases.length} cases`;
  printFaults(file, read.faults);
  return null;
}

/** Prints the Cedar schema of a manifest, for editors. @returns 0, or 1 when the manifest has faults */
export async function showCedarSchema(file: string): Promise<number> {
  const read = cedarSchemaOf(await readFile(file, 'utf8'), shapes);
  if (read.ok) {
    console.log(read.schema.trimEnd());
    return 0;
  }
  printFaults(file, read.faults);
  return 1;
}
