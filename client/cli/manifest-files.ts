/** Manifests in files, as commands are given them: read by the broker's own code, without a broker. */
import { readFile } from 'node:fs/promises';
import type { CompiledManifest } from '../../broker/manifests/compile.ts';
import { readManifest } from '../../broker/manifests/read.ts';
import { providerAdvice, providerParams } from '../../providers/params.ts';

type Shapes = Parameters<typeof readManifest>[1];

/** Every provider's parameters, whether it is switched on somewhere or not. */
export const shapes: Shapes = Object.fromEntries(
  Object.entries(providerParams).map(([name, params]) => {
    const advise = (providerAdvice as { [name: string]: Shapes[string]['advise'] })[name];
    return [name, { params, ...(advise === undefined ? {} : { advise }) }];
  }),
);

export interface Fault {
  path: string;
  message: string;
  line?: number | undefined;
  column?: number | undefined;
}

/** Prints faults with file, line and column, as compilers do. */
export function printFaults(file: string, faults: readonly Fault[], mark = '✘'): void {
  for (const { line = 1, column = 1, path, message } of faults)
    console.error(`${mark} ${file}:${line}:${column}: ${path === '' ? '' : `${path}: `}${message}`);
}

/**
 * Parses, checks and compiles a manifest. Prints warnings.
 * @returns null when it has faults, which are printed
 * @throws Error when the file cannot be read
 */
export async function manifestOf(file: string): Promise<CompiledManifest | null> {
  const read = readManifest(await readFile(file, 'utf8'), shapes);
  if (read.ok) {
    printFaults(file, read.warnings, '!');
    return read.compiled;
  }
  printFaults(file, read.faults);
  return null;
}
