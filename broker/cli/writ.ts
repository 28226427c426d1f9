#!/usr/bin/env node
/**
 * `writ` where the broker runs: the same command (client/cli), with what needs the broker's code, keys or
 * embedded database.
 */
import { sayOneLine } from '../../client/cli/last-words.ts';
import { runWrit } from '../../client/cli/run.ts';
import { keepCompiled } from '../compile-cache.ts';
import { useProxies } from '../core/proxies.ts';

sayOneLine();
// Before anything large: checking a manifest takes half as long.
keepCompiled();
const code = await runWrit(process.argv.slice(2), () => {
  useProxies(process.env);
  return import('./broker-side.ts');
});
// Everything is closed and written by then. Exit at once: migrating a new database leaves a ten-second timer
// (store/migrate.ts).
process.stderr.write('', () => process.stdout.write('', () => process.exit(code)));
