/** Manifests in files, as commands are given them: read by the broker's own code, without a broker. */
import { readFile } from 'node:fs/promises';
import type { CompiledManifest } from '../../broker/manifests/compile.ts';
import { readManifest } from '../../broker/manifests/read.ts';
import { anySettings } from '../../providers/any-settings.ts';

/** Every provider, whether it is switched on somewhere or not, under the most that its settings can allow. */
export const shapes = anySettings;

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
