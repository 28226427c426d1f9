/** Manifests in files, as commands are given them: read by the broker's own code, without a broker. */
import { readFile } from 'node:fs/promises';
import type { CompiledManifest } from '../../broker/manifests/compile.ts';
import { readManifest } from '../../broker/manifests/read.ts';
import { anySettings } from '../../providers/any-settings.ts';
import { CommandError } from './broker-side.ts';

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

/** What a file holds. @throws CommandError in one line when it cannot be read */
export async function textOf(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UnreadableFile(`${visible(file)}: ${unreadable[error.code ?? ''] ?? `cannot be read (${error.code})`}`);
  });
}

export class UnreadableFile extends CommandError {}

const unreadable: { [code: string]: string } = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'there is no such file',
  EISDIR: 'is a folder; name the files in it',
  EACCES: 'you may not read this file',
  EPERM: 'you may not read this file',
};

/** Somebody else's text on a terminal: what would move the cursor or turn the line is shown as a mark. */
export const visible = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '�');

/**
 * Parses, checks and compiles a manifest. Prints warnings.
 * @returns null when it has faults, which are printed
 * @throws UnreadableFile
 */
export async function manifestOf(file: string): Promise<CompiledManifest | null> {
  const read = readManifest(await textOf(file), shapes);
  if (read.ok) {
    printFaults(file, read.warnings, '!');
    return read.compiled;
  }
  printFaults(file, read.faults);
  return null;
}
