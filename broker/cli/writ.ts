#!/usr/bin/env node
/** `writ` where the broker runs: the same command (client/cli), with what needs the broker's code, keys or embedded database. */
import { runWrit } from '../../client/cli/run.ts';

process.exitCode = await runWrit(process.argv.slice(2), () => import('./broker-side.ts'));
