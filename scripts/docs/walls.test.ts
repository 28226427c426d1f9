import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Rule } from '../check/boundaries.ts';
import { foldersOf, readmeFaults, unknownFiles, wallsOf, withWalls } from './walls.ts';

const sources = [
  'broker/decide/decide.ts',
  'broker/decide/decide.test.ts',
  'broker/decide/facts.ts',
  'broker/leases/issue.ts',
  'broker/leases/revoke.ts',
  'broker/leases/transitions.ts',
  'broker/store/open.ts',
  'providers/aws/index.ts',
];
const rules: Rule[] = [
  { name: 'everywhere', why: 'always', files: /./, never: 'x' },
  {
    name: 'no-credential',
    why: 'it decides',
    files: /^broker\/decide\//,
    never: '^providers/|^broker/leases/(?!transitions)',
  },
  {
    name: 'facts-alone',
    why: 'they are data',
    files: /^broker\/decide\/facts\.ts$/,
    only: '^$',
    neverPackages: '^pg$',
  },
];
const walls = wallsOf('broker/decide', sources, rules);
const readme = withWalls('# decide\n\nDecides.\n\n<!-- walls -->\n<!-- /walls -->\n', walls) ?? '';

test('the walls of a folder are what the rules say of its files', () => {
  assert.match(walls, /^- The files here must not import `broker\/leases\/issue\.ts`, `broker\/leases\/revoke\.ts`,/m);
  assert.match(walls, /`providers\/`: it decides\s+\(`no-credential`\)\.$/m);
  assert.match(walls, /^- `facts\.ts` must import nothing of ours, and must not import the packages `\^pg\$`:/m);
  assert.doesNotMatch(walls, /everywhere`/);
  assert.match(wallsOf('broker/store', sources, rules), /^No import rule of its own\.$/);
  assert.deepEqual(foldersOf(sources), ['broker/decide', 'broker/leases', 'broker/store', 'providers/aws']);
});

test('a README that was changed, has no place for the walls or is missing is refused', () => {
  assert.deepEqual(readmeFaults('broker/decide', readme, walls), []);
  assert.match(readmeFaults('broker/decide', readme.replace('it decides', 'it hopes'), walls).join(), /differ from/);
  assert.match(readmeFaults('broker/decide', readme, wallsOf('broker/decide', sources, [])).join(), /differ from/);
  assert.match(readmeFaults('broker/decide', '# decide\n\nDecides.\n', walls).join(), /no place for the walls/);
  assert.match(readmeFaults('broker/decide', null, walls).join(), /is missing/);
  assert.match(readmeFaults('broker/decide', readme.replace('Decides.', ''), walls).join(), /does not begin/);
});

test('a README that names a file which is not there is refused', () => {
  const named = (text: string) => unknownFiles('broker/decide', text, (path) => sources.includes(path));
  assert.deepEqual(named('`facts.ts`, `leases/issue.ts`, `../store/open.ts`, `broker/store/open.ts`, `*.test.ts`'), []);
  assert.deepEqual(named('first\n`weigh.ts`'), ['broker/decide/README.md:2: weigh.ts does not exist']);
});
