import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { generatedDocs, run, style, terraformFormat, types } from './command.ts';
import { installScriptFaults, type Lock, licenceFindings, pinningFaults } from './dependencies.ts';
import { exceptions, licenceAllowed } from './licences.ts';
import { migrationFaults } from './migrations.ts';
import { registryHost, wordFaults } from './words.ts';

const ours = join(import.meta.dirname, '../..');

/** A folder with the given files that uses our tools; gone after the test. */
async function folder(t: TestContext, files: Record<string, string>): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'writ-check-'));
  t.after(() => rm(root, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(root, path, '..'), { recursive: true });
    await writeFile(join(root, path), text);
  }
  await mkdir(join(root, 'node_modules'), { recursive: true });
  await symlink(join(ours, 'node_modules/.bin'), join(root, 'node_modules/.bin'));
  return root;
}

test('a type error fails the types', async (t) => {
  const config = '{"compilerOptions":{"noEmit":true,"types":[]},"files":["a.ts"]}';
  const bad = await folder(t, { 'tsconfig.json': config, 'a.ts': 'export const a: string = 1;\n' });
  assert.match((await types.run(bad)).faults.join('\n'), /a\.ts.*TS2322/);
  const good = await folder(t, { 'tsconfig.json': config, 'a.ts': "export const a: string = '1';\n" });
  assert.deepEqual((await types.run(good)).faults, []);
});

test('bad format and lint warnings fail the style', async (t) => {
  const bad = await folder(t, { 'a.ts': 'export   const a = 1\n' });
  assert.match((await style.run(bad)).faults.join('\n'), /format/);
  const warned = await folder(t, { 'a.ts': 'const unused = 1;\nexport const a = 2;\n' });
  assert.match((await style.run(warned)).faults.join('\n'), /noUnusedVariables/);
});

test('stale generated docs fail, and so does a reference that nothing writes', async (t) => {
  const stale = await folder(t, { 'scripts/docs.ts': "console.log('configuration.md is stale'); process.exit(1);" });
  assert.deepEqual((await generatedDocs.run(stale)).faults, ['configuration.md is stale']);
  const orphan = await folder(t, { 'docs/reference/configuration.md': '' });
  assert.equal((await generatedDocs.run(orphan)).faults.length, 1);
  const none = await folder(t, {});
  assert.deepEqual((await generatedDocs.run(none)).faults, []);
});

test('badly formatted terraform fails', async (t) => {
  if ((await run('terraform', ['version'], ours)).status === null) return t.skip('terraform is not installed');
  const bad = await folder(t, { 'infra/terraform/a.tf': 'variable "a" {\n type=string\n}\n' });
  assert.match((await terraformFormat().run(bad)).faults.join('\n'), /a\.tf/);
  const good = await folder(t, { 'infra/terraform/a.tf': 'variable "a" {\n  type = string\n}\n' });
  assert.deepEqual((await terraformFormat().run(good)).faults, []);
});

test('a missing terraform is a failure in CI and one visible line elsewhere', async (t) => {
  const root = await folder(t, { 'infra/terraform/a.tf': '' });
  assert.equal((await terraformFormat('no-such-program', true).run(root)).faults.length, 1);
  const here = await terraformFormat('no-such-program', false).run(root);
  assert.deepEqual([here.faults.length, here.notes.length], [0, 1]);
});

test('licence expressions', () => {
  for (const good of ['MIT', '(MIT OR GPL-3.0-only)', 'MIT AND Zlib', 'MIT and ISC', 'GPL-2.0-only OR (MIT AND ISC)']) {
    assert.equal(licenceAllowed(good), true, good);
  }
  const refused = [
    '',
    'GPL-3.0-only',
    'MIT AND GPL-3.0-only',
    'SEE LICENSE IN LICENSE',
    'MIT ISC',
    '(MIT',
    'MIT OR',
    'UNLICENSED',
  ];
  for (const bad of [...refused, 'Apache-2.0 WITH Strange-exception']) assert.equal(licenceAllowed(bad), false, bad);
});

/** What the exceptions are for: each must be needed. */
const excepted = Object.fromEntries(
  Object.keys(exceptions).map((name) => [
    `node_modules/${name}`,
    { version: '1.0.0', license: 'EPL-2.0', devOptional: true },
  ]),
);

test('a copyleft or unlicensed package fails, wherever it is nested; an exception never covers what ships', () => {
  const findings = (lock: Lock) => licenceFindings({ ...excepted, ...lock }, () => undefined).faults;
  assert.deepEqual(findings({ '': { license: 'GPL-3.0' }, 'node_modules/a': { license: 'MIT' } }), []);
  assert.equal(findings({ 'node_modules/a/node_modules/b': { version: '1.0.0', license: 'AGPL-3.0-only' } }).length, 1);
  assert.equal(findings({ 'node_modules/a': { version: '1.0.0' } }).length, 1);
  assert.equal(findings({ 'node_modules/a/node_modules/elkjs': { version: '1.0.0', license: 'EPL-2.0' } }).length, 1);
});

test('production and development packages are told apart and counted; an exception that nobody needs fails', () => {
  const lock: Lock = { 'node_modules/a': { license: 'MIT' }, 'node_modules/b': { dev: true } };
  const { faults, notes } = licenceFindings({ ...excepted, ...lock }, () => 'ISC');
  assert.deepEqual(faults, []);
  assert.equal(notes[0], `1 production and ${1 + Object.keys(exceptions).length} development packages`);
  assert.match(licenceFindings(lock, () => 'ISC').faults.join(), /elkjs.*not needed/);
});

test('what is not pinned fails', () => {
  const a = { version: '1.0.0', integrity: 'sha512-x' };
  assert.deepEqual(pinningFaults({ 'node_modules/a': a }, { 'node_modules/a': a }), []);
  assert.match(pinningFaults({ 'node_modules/a': { version: '1.0.0' } }, {}).join(), /no checksum/);
  assert.match(pinningFaults({ 'node_modules/a': { ...a, resolved: 'https://x' } }, {}).join(), /registry/);
  assert.match(pinningFaults({ 'node_modules/a': a }, { 'node_modules/a': { version: '1.0.1' } }).join(), /not what/);
  assert.match(pinningFaults({}, { 'node_modules/b': a }).join(), /not what/);
});

test('an install script that nobody looked at fails', () => {
  const lock: Lock = {
    '': { hasInstallScript: true },
    'node_modules/a': { hasInstallScript: true },
    'node_modules/b': {},
  };
  assert.deepEqual(installScriptFaults(lock, { a: false }), []);
  assert.match(installScriptFaults(lock, {}).join(), /^a runs a script/);
  assert.match(installScriptFaults(lock, { a: true, b: true }).join(), /mentions b/);
});

test('a schema ahead of its migrations fails', () => {
  assert.deepEqual(migrationFaults(''), []);
  assert.equal(migrationFaults('ALTER TABLE a ADD COLUMN b TEXT;').length, 2);
});

test('traces of a machine fail; addresses and container paths do not', () => {
  // Put together here, so that this file does not hold what it forbids.
  const path = (...segments: string[]) => ['', ...segments].join('/');
  const faults = (text: string) => wordFaults('a.md', text, 'registry.example.internal');
  for (const bad of [path('work', 'main', 'x'), path('home', 'somebody'), path('tmp', 'x1'), path('Users', 'me')]) {
    assert.equal(faults(`first line\nsee ${bad} for it`).length, 1, bad);
    assert.match(faults(`\n"${bad}"`)[0] ?? '', /^a\.md:2: /);
  }
  assert.equal(faults('from https://registry.example.internal/a').length, 1);
  for (const good of [
    `https://example.com${path('home', 'x')}`,
    `docs${path('work', 'x')}`,
    '/tmp',
    '/data/writ',
    '//root/x',
  ]) {
    assert.deepEqual(faults(good), [], good);
  }
});

test('the registry is the one npm is set to, whatever npm says besides', () => {
  assert.equal(registryHost('npm warn something\nhttps://packages.example/'), 'packages.example');
  assert.equal(registryHost('http://npm.example.internal:4873/'), 'npm.example.internal');
  assert.throws(() => registryHost(''));
});
