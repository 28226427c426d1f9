/** A client generated from what a broker serves as `/openapi.json`: it compiles, and reads the answers. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { type Deployment, startDeployment } from '../deployment.test-support.ts';

const run = promisify(execFile);
const repository = join(import.meta.dirname, '../..');
const toolchain = join(repository, 'scripts/toolchain/node_modules');
/** As strict as it gets, and no `skipLibCheck`: what was generated is checked as well. */
const options = [
  '--noEmit --strict --module nodenext --target es2024 --types node --allowImportingTsExtensions',
  '--noUncheckedIndexedAccess --exactOptionalPropertyTypes --noImplicitReturns --noFallthroughCasesInSwitch',
  '--noImplicitOverride --noUnusedLocals --noUnusedParameters --verbatimModuleSyntax --erasableSyntaxOnly',
].flatMap((line) => line.split(' '));

let deployment: Deployment;
let project: string;
before(async () => {
  deployment = await startDeployment();
  project = await mkdtemp(join(tmpdir(), 'writ-generated-client-'));
  await writeFile(join(project, 'package.json'), JSON.stringify({ type: 'module', private: true }));
  const packages = {
    'openapi-fetch': toolchain,
    'openapi-typescript-helpers': toolchain,
    '@types/node': join(repository, 'node_modules'),
  };
  for (const [name, from] of Object.entries(packages)) {
    await mkdir(dirname(join(project, 'node_modules', name)), { recursive: true });
    await symlink(join(from, name), join(project, 'node_modules', name));
  }
  await cp(join(import.meta.dirname, 'program.ts'), join(project, 'program.ts'));
  const generator = join(toolchain, 'openapi-typescript/bin/cli.js');
  const document = `${deployment.broker.url}/openapi.json`;
  // A member with a default may be left out of a request.
  const flags = ['--default-non-nullable', 'false', '--output', join(project, 'client.ts')];
  await run(process.execPath, [generator, document, ...flags]);
});
after(async () => {
  await deployment.close();
  await rm(project, { recursive: true, force: true });
});

/** @returns what the compiler says, a line for each fault */
async function compile(file: string): Promise<string[]> {
  const compiler = join(repository, 'node_modules/.bin/tsc');
  const { stdout } = await run(compiler, [...options, file], { cwd: project }).catch(
    (error: { stdout: string }) => error,
  );
  return stdout.split('\n').filter((line) => /error TS/.test(line));
}

test('the client compiles with the program that uses it', async () => {
  assert.deepEqual(await compile('program.ts'), []);
});

test('the compiler refuses each mistake that the program marks, and nothing else', async (t) => {
  const source = await readFile(join(project, 'program.ts'), 'utf8');
  const marked = source.split('\n').flatMap((line, at) => (line.includes('@ts-expect-error') ? [at + 2] : []));
  await writeFile(join(project, 'unmarked.ts'), source.replaceAll('@ts-expect-error', 'a mistake:'));
  const faults = await compile('unmarked.ts');
  const refused = faults.map((fault) => Number(/\((\d+),/.exec(fault)?.[1]));
  assert.deepEqual([...new Set(refused)], marked, faults.join('\n'));
  t.diagnostic(`${marked.length} mistakes`);
});

test('run against a broker it reads a denial, what is nearest, and a credential', async () => {
  const env = { WRIT_URL: deployment.broker.url, SUBJECT_TOKEN: await deployment.world.subjectToken() };
  // Time stands still here until somebody moves it, and the end is waited for.
  const passing = setInterval(() => deployment.clock.advance(20), 20);
  const { stdout } = await run(process.execPath, [join(project, 'program.ts')], { env, timeout: 60_000 }).finally(() =>
    clearInterval(passing),
  );
  const said = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(said, [
    {
      what: 'refused session',
      value: [
        400,
        'invalid_authorization_details',
        'invalid_authorization_details',
        [
          {
            path: 'authorization_details[0].task_type',
            message: 'is not a task type of this agent; did you mean answer-invoice-question?',
          },
        ],
      ],
    },
    { what: 'opened', value: ['Bearer', { customer_id: '42' }] },
    { what: 'offered', value: ['read-customer-files', 'read-policy-repository', 'read-statements'] },
    {
      what: 'misspelt',
      value: [400, 'bad_request', ['capability: is required', 'capabilty: is not known here']],
    },
    {
      what: 'misspelt',
      value: [400, 'bad_request', ['capability: is not a capability of this agent; did you mean read-statements?']],
    },
    { what: 'denied', value: [403, 'denied', ['param_not_bound_value']] },
    {
      what: 'about it',
      value: [
        ['change params.bucket'],
        {
          capability: 'read-statements',
          params: { bucket: 'statements', role: 'roles/storage.objectViewer', prefix: 'customers/42/' },
          ttl_seconds: 300,
        },
      ],
    },
    { what: 'granted', value: ['issued', 'gcp', 'eventual', 'active'] },
    { what: 'credential', value: ['Bearer', ['https://www.googleapis.com/auth/cloud-platform']] },
    { what: 'waiting', value: [202, 'pending', '/approvals/{id}', '/v1/grants/{id}/redeem'] },
    { what: 'without an id', value: 'not_found' },
    { what: 'early', value: [409, 'not_approved'] },
    { what: 'ended', value: ['ended', ['revoked']] },
  ]);
});
