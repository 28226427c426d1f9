/**
 * Keeps what Node makes of a file, its JavaScript and its bytecode, for the next start: stripping types and
 * compiling is half of what a start costs.
 */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

/** Holds for what is imported afterwards. */
export function keepCompiled(): void {
  // Beside the code: only those may write it who may write the code. Where nobody may, nothing is kept.
  enableCompileCache(join(import.meta.dirname, '../node_modules/.cache/writ/compile'));
}
