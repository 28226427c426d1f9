#!/usr/bin/env node
/** `writ` as it is installed on its own, without a broker. */
import { sayOneLine } from './last-words.ts';
import { runWrit } from './run.ts';

sayOneLine();
process.exitCode = await runWrit(process.argv.slice(2), null);
