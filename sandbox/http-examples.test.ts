/** The scripts of docs/http-examples.md, as they stand there, against a broker. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { type Deployment, startDeployment } from './deployment.test-support.ts';

const run = promisify(execFile);
let deployment: Deployment;
let page: string;
before(async () => {
  deployment = await startDeployment();
  page = await readFile(join(import.meta.dirname, '../docs/http-examples.md'), 'utf8');
});
after(() => deployment.close());

const blockOf = (language: string) => new RegExp(`\`\`\`${language}\n(.*?)\n\`\`\``, 's').exec(page)![1]!;
async function ran(command: string, args: string[]) {
  const env = {
    PATH: process.env.PATH ?? '',
    WRIT_URL: deployment.broker.url,
    SUBJECT_TOKEN: await deployment.world.subjectToken(),
  };
  // Time stands still here until somebody moves it, and the end is waited for.
  const passing = setInterval(() => deployment.clock.advance(20), 20);
  const { stdout } = await run(command, args, { env, timeout: 60_000 }).finally(() => clearInterval(passing));
  const { store } = deployment.broker;
  const [session] = await store.prisma.session.findMany({ orderBy: { id: 'desc' }, take: 1 });
  const leases = await store.prisma.lease.findMany({ where: { sessionId: session!.id }, include: { grant: true } });
  assert.deepEqual([session?.status, session?.dpopJkt === null], ['ended', false], stdout);
  assert.deepEqual(
    leases.map(({ status, grant }) => [grant.capability, status]),
    [['read-statements', 'revoked']],
    stdout,
  );
  return stdout;
}

test('with curl and openssl alone', async () => {
  const [capabilities, denied, issued, ended, ...rest] = (await ran('bash', ['-c', blockOf('bash')]))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(rest.length, 0);
  assert.ok(capabilities.capabilities.some(({ name }: { name: string }) => name === 'read-statements'));
  assert.deepEqual([denied.code, denied.reasons[0].code], ['denied', 'param_not_bound_value']);
  assert.equal(issued.credential.type, 'gcp');
  assert.deepEqual([ended.session.status, ended.leases[0].status], ['ended', 'revoked']);
});

test('in Python', async () => {
  const out = await ran('/usr/bin/python3', ['-c', blockOf('python')]);
  assert.match(out, /^read-statements 1 20$/m);
  assert.match(out, /^403 denied \['param_not_bound_value'\]$/m);
  assert.match(out, /^201 gcp \d{4}-/m);
  assert.match(out, /^\[\('gcp', 'revoked'\)\]$/m);
});
