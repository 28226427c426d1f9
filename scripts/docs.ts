/**
 * `npm run docs`: writes docs/reference from the code's own schemas, and the walls in each folder's README
 * from the import rules. `npm run docs -- --check` writes nothing, and exits 1 when a file differs, or
 * README.md or docs link to, or name, what is not there.
 */
import { join } from 'node:path';
import { differences, writeFiles } from './docs/compare.ts';
import { deadLinks, markdownPages, missingFiles } from './docs/links.ts';
import { referenceFiles } from './docs/reference.ts';
import { walls } from './docs/walls.ts';

const root = join(import.meta.dirname, '..');
const folder = join(root, 'docs/reference');
const check = process.argv.includes('--check');

const wanted = await referenceFiles(root);
if (!check) await writeFiles(folder, wanted);
const pages = await markdownPages(root);
const faults = [
  ...(await differences(folder, wanted)).map((line) => `docs/reference/${line}; run \`npm run docs\``),
  ...(await walls(root, check)),
  ...(await deadLinks(root, pages)),
  ...(await missingFiles(root, pages)),
];
for (const fault of faults) console.log(fault);
if (faults.length === 0)
  console.log(`${wanted.size} generated files ${check ? 'are as the code says' : 'written'}; all links lead somewhere`);
process.exitCode = faults.length === 0 ? 0 : 1;
