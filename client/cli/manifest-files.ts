/** Manifests in files, as commands are given them: read by the broker's own code, without a broker. */
import { readFile } from 'node:fs/promises';
import type { CompiledManifest } from '../../broker/manifests/compile.ts';
import { readManifest } from '../../broker/manifests/read.ts';
import { providerParams } from '../../providers/params.ts';

/** Every provider's parameters, whether it is switched on somewhere or not. */
export const shapes = Object.fromEntries(Object.entries(providerParams).map(([name, params]) => [name, { params }]));

export interface Fault {
  path: string;
  message: string;
  line?: number | undefined;
  column?: number | undefined;
}

/** Prints faults with file, line and column, as compilers do. */
export function printFaults(file: string, faults: readonly Fault[]): void {
  for (const { line = 1, column = 1, path, message } of faults)
    console.error(`✘ ${file}:${line}:${column}: ${path === '' ? '' : `${path}: `}${message}`);
}

/**
 * Parses, checks and compiles a manifest.
 * @returns null when it has faults, which are printed
 * @throws Error when the file cannot be read
 */
export async function manifestOf(file: string): Promise<CompiledManifest | null> {
  const read = readManifest(await readFile(file, 'utf8'), shapes);
  if (read.ok) return read.compiled;
  printFaults(file, read.faults);
  return null;
}
