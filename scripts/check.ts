/**
 * `npm run check`: everything about the tree that can be told without running the broker. All parts run,
 * whatever fails before them.
 */
import { join } from 'node:path';
import { boundaries } from './check/boundaries.ts';
import { clock } from './check/clock.ts';
import { closedListsPart } from './check/closed-lists.ts';
import { generatedDocs, style, terraformFormat, types } from './check/command.ts';
import { comments } from './check/comments.ts';
import { databaseClient } from './check/database-client.ts';
import { installScripts, licences, pinning } from './check/dependencies.ts';
import { migrations } from './check/migrations.ts';
import { openapi } from './check/openapi.ts';
import { packages } from './check/packages.ts';
import type { Finding, Part } from './check/part.ts';
import { tables } from './check/tables.ts';
import { words } from './check/words.ts';

const root = join(import.meta.dirname, '..');
const parts: Part[] = [
  types,
  style,
  boundaries,
  tables,
  packages,
  clock,
  comments,
  closedListsPart,
  generatedDocs,
  openapi,
  licences,
  pinning,
  installScripts,
  migrations,
  databaseClient,
  terraformFormat(),
  words,
];

/** A part that throws has failed: what could not be looked at is not known to be right. */
async function look(part: Part): Promise<Finding> {
  try {
    return await part.run(root);
  } catch (error) {
    return { faults: [error instanceof Error ? (error.stack ?? error.message) : String(error)], notes: [] };
  }
}

let failed = 0;
for (const part of parts) {
  const { faults, notes } = await look(part);
  if (faults.length > 0) failed += 1;
  for (const fault of faults) console.log(`    ${fault}`);
  console.log(`${faults.length === 0 ? '✔' : '✘'} ${part.name}${notes.length === 0 ? '' : ` (${notes.join('; ')})`}`);
}
console.log(`${parts.length - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
