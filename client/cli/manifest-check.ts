/**
 * `writ manifest check`: the broker's own reading of manifests and of their cases, without a broker; what
 * hangs on a broker's settings is asked there when it is wanted.
 */
import { basename } from 'node:path';
import { isCasesFile, readCases } from '../../broker/cases/read-cases.ts';
import { agentOf, cedarSchemaOf, nameFault } from '../../broker/manifests/read.ts';
import { type Environment, faultsAtBroker } from './admin.ts';
import { manifestOf, printFaults, shapes, textOf, UnreadableFile } from './manifest-files.ts';

/**
 * Parses, checks and compiles each file, against every provider whether it is switched on somewhere or not.
 * Files of cases are parsed and checked.
 *
 * @param broker where its settings are to be asked for too: which roles, owners, accounts there are
 * @returns 0 when all of them could be published, else 1; each fault is printed with file, line, column and
 *   path
 */
export async function checkManifests(files: string[], broker: Environment | null): Promise<number> {
  let failed = 0;
  const fileOf = new Map<string, string>();
  for (const file of files) {
    // A broker does not start with such a name in its folder, whatever the file holds.
    const misnamed = nameFault(basename(file));
    if (misnamed !== null) printFaults(file, [{ path: '', message: misnamed }]);
    const words = await (isCasesFile(file) ? checkCases(file) : checkManifest(file, broker, fileOf)).catch(
      sayUnreadable,
    );
    if (words === null || misnamed !== null) failed += 1;
    else console.log(`✔ ${file}: ${words}`);
  }
  return failed === 0 ? 0 : 1;
}

/** One file that is not there hides nothing of the next. */
function sayUnreadable(error: unknown): null {
  if (!(error instanceof UnreadableFile)) throw error;
  console.error(`✘ ${error.message}`);
  return null;
}

async function checkManifest(
  file: string,
  broker: Environment | null,
  fileOf: Map<string, string>,
): Promise<string | null> {
  const source = await textOf(file);
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
  const read = readCases(await textOf(file));
  if (read.ok) return `${read.cases.cases.length} cases`;
  printFaults(file, read.faults);
  return null;
}

/** Prints the Cedar schema of a manifest, for editors. @returns 0, or 1 when the manifest has faults */
export async function showCedarSchema(file: string): Promise<number> {
  const read = cedarSchemaOf(await textOf(file), shapes);
  if (read.ok) {
    console.log(read.schema.trimEnd());
    return 0;
  }
  printFaults(file, read.faults);
  return 1;
}
