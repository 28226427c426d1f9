#!/usr/bin/env node
/** `writ` as it is installed on its own, without a broker. */
import { runWrit } from './run.ts';

process.exitCode = await runWrit(process.argv.slice(2), null);
