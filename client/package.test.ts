/**
 * The package as its users get it: packed, installed without a network, types and all, run by plain Node.
 *
 * @deep
 */
import assert from 'node:assert/strict';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { type Harness, openHarness } from './broker.test-support.ts';
import { installPacked, ofTheBroker, ownNode, repository, run } from './install.test-support.ts';

let harness: Harness;
let project: string;
let installed: string[];
before(async () => {
  harness = await openHarness();
  project = join(harness.folder, 'project');
  await mkdir(project);
  installed = await installPacked(import.meta.dirname, project);
});
after(() => harness.close());

const program = `
import { awsCredentialsOf, fileToken, Writ, WritDenied } from '@writ/client';

const session = await Writ.openSession({
  url: process.env.WRIT_URL,
  subjectToken: fileToken(process.env.TOKEN_FILE),
  taskType: 'answer-invoice-question',
  inputs: { customer_id: '42' },
});
try {
  const grant = await session.grant('read-customer-files', {}, { type: 'aws', ttlSeconds: 300 });
  const denied = await session.grant('read-customer-files', { prefix: '/' }).catch((error) => error instanceof WritDenied);
  console.log(JSON.stringify({ key: awsCredentialsOf(grant).accessKeyId.slice(0, 4), denied }));
} finally {
  await session[Symbol.asyncDispose]();
}
console.log(JSON.stringify(await session.ended));
`;

async function runProgram(node: string): Promise<unknown[]> {
  await writeFile(join(project, 'token'), await harness.platformToken(harness.url));
  await writeFile(join(project, 'main.mjs'), program);
  const env = { PATH: process.env.PATH, WRIT_URL: harness.url, TOKEN_FILE: join(project, 'token') };
  const { stdout } = await run(node, ['main.mjs'], { cwd: project, env });
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

const expected = [{ key: 'ASIA', denied: true }, { reason: 'ended_by_agent' }];

it('contains built JavaScript, its types and nothing of the tests', async () => {
  const folder = join(project, 'node_modules/@writ/client');
  assert.deepEqual((await readdir(folder)).sort(), ['README.md', 'dist', 'package.json']);
  const files = await readdir(join(folder, 'dist'));
  assert.ok(files.includes('index.js') && files.includes('index.d.ts'));
  assert.deepEqual(
    files.filter((name) => !/^[a-z]+\.(js|d\.ts)$/.test(name)),
    [],
  );
});

it('brings one dependency, and nothing of the broker', () => {
  assert.deepEqual(installed, ['@writ/client', 'jose']);
  assert.deepEqual(installed.filter(ofTheBroker), []);
});

it('opens a session, gets a credential, ends, and lets the process exit', async () => {
  assert.deepEqual(await runProgram(process.execPath), expected);
});

it('runs on the machine’s own Node too', async (test) => {
  const node = await ownNode();
  if (node === null) return test.skip('no Node 20 or newer outside node_modules in PATH');
  test.diagnostic(`Node ${node.version}`);
  assert.deepEqual(await runProgram(node.path), expected);
});

it('types what a program may do with it', async () => {
  const source = `
    import { awsCredentials, renewing, Writ } from '@writ/client';
    const session = await Writ.openSession({ url: 'https://writ.example.com', subjectToken: 'x', taskType: 't' });
    const key: string = (await session.grant('a', {}, { type: 'aws' })).credential.accessKeyId;
    const { credential } = await session.grant('b');
    if (credential.type === 'github') credential.token.trim();
    const end: Date = (await awsCredentials(session, 'a')()).expiration;
    const project: string | undefined = (await renewing(session, 'c', {}, { type: 'gcp' })()).credential.projectId;
    const vault: 'vault' = (await session.grant('d', {}, { type: 'vault' })).credential.type;
    if (credential.type !== 'aws' && credential.type !== 'github' && credential.type !== 'gcp' && credential.type !== 'postgres') credential.anything;
    // @ts-expect-error told apart by type first
    credential.token;
    // @ts-expect-error either a token or a key
    await Writ.openSession({ url: 'https://writ.example.com', taskType: 't' });
    export { end, key, project, vault };
  `;
  await writeFile(join(project, 'types.mts'), source);
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
  const typeRoots = ['--typeRoots', join(repository, 'node_modules/@types')];
  const checked = run(join(repository, 'node_modules/.bin/tsc'), [...options, ...typeRoots, 'types.mts'], {
    cwd: project,
  });
  await checked.catch((error: { stdout: string }) => assert.fail(error.stdout));
});
