/** `writ manifest test`: runs the cases that are kept beside a manifest, without a broker. */
import { access } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isCasesFile, readCases } from '../../broker/cases/read-cases.ts';
import { type CaseResult, otherManifests, runCases } from '../../broker/cases/run-cases.ts';
import { manifestOf, printFaults, shapes, textOf } from './manifest-files.ts';

/**
 * Runs the cases of each file: a file of cases, or a manifest whose cases are in `NAME.cases.yaml` beside it.
 *
 * @returns 0 when there were cases, and what was decided is what they say; else 1, and each that failed is
 *   printed with what was decided and why
 * @throws Error when a file cannot be read
 */
export async function testManifests(files: string[]): Promise<number> {
  let failed = 0;
  let ran = 0;
  const seen = new Set<string>();
  for (const given of files) {
    const file = isCasesFile(given) ? given : await casesBeside(given);
    if (file === null) {
      console.log(`· ${given}: no cases beside it`);
      continue;
    }
    if (seen.has(file)) continue;
    seen.add(file);
    const results = await runFile(file);
    ran += results?.length ?? 0;
    const wrong = results?.filter(({ failures }) => failures.length > 0) ?? [];
    if (results === null || wrong.length > 0) failed += 1;
    for (const one of wrong) printFailure(file, one);
    if (results !== null && wrong.length === 0) console.log(`✔ ${file}: ${results.length} cases`);
    else if (results !== null) console.error(`✘ ${file}: ${wrong.length} of ${results.length} cases fail`);
  }
  if (ran === 0 && failed === 0) console.error('✘ no cases were run');
  return failed === 0 && ran > 0 ? 0 : 1;
}

/** @returns null when the files have faults, which are printed */
async function runFile(file: string): Promise<CaseResult[] | null> {
  const read = readCases(await textOf(file));
  if (!read.ok) {
    printFaults(file, read.faults);
    return null;
  }
  const { cases, locate } = read;
  const beside = (name: string) => join(dirname(file), name);
  const manifest = await manifestOf(beside(cases.manifest ?? basename(file).replace(/\.cases(\.ya?ml)$/, '$1')));
  const others = await Promise.all(
    otherManifests(cases).map(async (name) => [name, await manifestOf(beside(name))] as const),
  );
  const there = others.flatMap(([name, compiled]) => (compiled === null ? [] : [[name, compiled] as const]));
  if (manifest === null || there.length < others.length) return null;
  return runCases({ cases, locate, manifest, others: Object.fromEntries(there), shapes });
}

function printFailure(file: string, { name, failures }: CaseResult): void {
  console.error(`✘ ${name}`);
  for (const { line, step, expected, decided, why } of failures) {
    console.error(`    ${file}:${line}: ${step}`);
    console.error(`      expected ${expected}`);
    console.error(`      decided  ${decided}`);
    for (const reason of why) console.error(`      because  ${reason}`);
  }
}

async function casesBeside(manifest: string): Promise<string | null> {
  const name = manifest.replace(/(\.ya?ml)$/, '.cases$1');
  if (name === manifest) return null;
  return access(name).then(
    () => name,
    () => null,
  );
}
