/** The process as somebody starts it for the first time: what it says when it cannot start. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { layMigrated, testBackends, testDatabaseUrl } from './store/store.test-support.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'writ-refusals-'));
  await layMigrated(join(folder, 'data', 'database'));
});
after(() => rm(folder, { recursive: true }));

/** Standard output is the log. */
async function main(args: string[], env: Record<string, string> = {}) {
  // The second flag as for every test file (docs/decisions/test-runner.md).
  const flags = ['--disable-warning=ExperimentalWarning', '--liftoff-only'];
  const child = spawn(process.execPath, [...flags, join(import.meta.dirname, 'main.ts'), ...args], {
    env: { PATH: process.env.PATH, HOME: folder, WRIT_DATA_DIR: join(folder, 'data'), PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
    // What starts in spite of the fault must not go on.
    if (stdout.includes('writ is up')) child.kill('SIGTERM');
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

const listening = async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
};

test('a taken port is one line that says what to do; the stack is there for who asks', async () => {
  const { port, close } = await listening();
  try {
    const { code, stderr } = await main([], { PORT: String(port) });
    assert.equal(code, 1);
    assert.equal(
      stderr,
      `The broker did not start: port ${port} of 127.0.0.1 is taken. Stop what listens there, or set PORT to another (PORT=0 takes a free one).\n`,
    );
    assert.match((await main([], { PORT: String(port), WRIT_LOG_LEVEL: 'debug' })).stderr, /EADDRINUSE.*\n\s+at /);
  } finally {
    close();
  }
});

test('an address of another machine is one line', async () => {
  const { stderr } = await main([], { WRIT_LISTEN: '192.0.2.1', WRIT_ISSUER_URL: 'https://writ.example.com' });
  assert.match(
    stderr,
    /^The broker did not start: this machine does not have the address that WRIT_LISTEN names\..*\n$/,
  );
});

const server = {
  WRIT_KEY_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
  WRIT_ISSUER_URL: 'http://127.0.0.1:8420',
};

test('a database that cannot be reached is one line, without the password', async () => {
  const silent = await listening();
  try {
    for (const [host, why] of [
      ['127.0.0.1:1', 'nothing listens there'],
      ['nowhere.invalid:5432', 'no such host|cannot be looked up now'],
      [`127.0.0.1:${silent.port}`, 'it hung up'],
    ]) {
      const { code, stderr } = await main([], { ...server, DATABASE_URL: `postgres://me:hidden@${host}/writ` });
      assert.equal(code, 1);
      assert.match(
        stderr,
        new RegExp(`^The broker did not start: the database writ of me at ${host} .*(${why}).*\\n$`),
      );
      assert.doesNotMatch(stderr, /hidden/);
    }
  } finally {
    silent.close();
  }
});

const real = (await testBackends()).includes('postgres');
test('a database that is not there, and a user who is not let in, are one line each', { skip: !real }, async () => {
  const url = new URL(testDatabaseUrl);
  url.pathname = '/writ_there_is_none';
  const missing = await main([], { ...server, DATABASE_URL: url.href });
  assert.match(
    missing.stderr,
    /^The broker did not start: the database writ_there_is_none .*no such database.*createdb.*\n$/,
  );
  url.username = 'writ_nobody';
  url.password = 'hidden';
  const nobody = await main([], { ...server, DATABASE_URL: url.href });
  assert.match(
    nobody.stderr,
    /^The broker did not start: .* of writ_nobody at .* (user or password|let this user in).*\n$/,
  );
  assert.doesNotMatch(nobody.stderr, /hidden/);
});

test('folders and files that cannot be read are named with their variable', async () => {
  const nowhere = join(folder, 'nowhere');
  const file = join(folder, 'file');
  await writeFile(file, '');
  const misnamed = join(folder, 'misnamed');
  await mkdir(misnamed);
  await writeFile(join(misnamed, 'agent.yml'), '');
  for (const [env, why] of [
    [{ WRIT_MANIFEST_DIR: nowhere }, 'WRIT_MANIFEST_DIR: \\S+ is no folder that can be read \\(ENOENT\\)'],
    [{ WRIT_MANIFEST_DIR: file }, 'WRIT_MANIFEST_DIR: \\S+ is no folder that can be read \\(ENOTDIR\\)'],
    [{ WRIT_MANIFEST_DIR: misnamed }, 'WRIT_MANIFEST_DIR: agent.yml in \\S+: .* ends in .yaml; rename it'],
    [{ WRIT_TRUST_FILE: nowhere }, 'WRIT_TRUST_FILE: \\S+ cannot be read \\(ENOENT\\)'],
    [{ WRIT_TRUST_FILE: folder }, 'WRIT_TRUST_FILE: \\S+ cannot be read \\(EISDIR\\)'],
    [
      { WRIT_CHECKPOINTS: join(nowhere, 'points') },
      'WRIT_CHECKPOINTS: \\S+ cannot be written \\(ENOENT\\); make its folder',
    ],
    [{ WRIT_ONCALL_FILE: nowhere }, 'WRIT_ONCALL_FILE: \\S+ cannot be read \\(ENOENT\\)'],
    [
      {
        WRIT_OIDC_ISSUER: 'https://login.example.com',
        WRIT_OIDC_CLIENT_ID: 'x',
        WRIT_OIDC_CLIENT_KEY_FILE: nowhere,
      },
      'WRIT_OIDC_CLIENT_KEY_FILE: \\S+ is no private key that can be read',
    ],
  ] as const) {
    const { code, stderr } = await main([], env);
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`^The configuration has 1 fault:\\n  - ${why}\\n$`));
  }
  const { stderr } = await main([], { WRIT_DATA_DIR: join(file, 'data') });
  assert.match(stderr, /^The broker did not start: WRIT_DATA_DIR: \S+ cannot be made \(ENOTDIR\); name a folder.*\n$/);
});

test('a misspelt variable keeps it from starting, with the name that was meant', async () => {
  const { code, stderr } = await main([], { WRIT_REQIURE_DPOP: '1' });
  assert.equal(code, 1);
  assert.equal(
    stderr,
    'The configuration has 1 fault:\n  - WRIT_REQIURE_DPOP: is no variable of Writ; did you mean WRIT_REQUIRE_DPOP?\n',
  );
});

test('--help and --version answer, and any other option is refused, all without starting', async () => {
  const help = await main(['--help']);
  assert.deepEqual([help.code, help.stderr], [0, '']);
  assert.match(help.stdout, /^npm start: the broker of Writ\n/);
  assert.match((await main(['--version'])).stdout, /^writ \d+\.\d+\.\d+\n$/);
  const wrong = await main(['--prot', '80']);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /^✘ --prot: the broker takes no such option\n/);
  assert.equal(wrong.stdout, '');
});

test('two manifests of one agent are one line, which names both files', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'writ-manifests-'));
  const source = 'apiVersion: writ/v1\nagent: invoice-bot\n';
  for (const name of ['first.yaml', 'second.yaml', 'first.cases.yaml']) await writeFile(join(folder, name), source);
  await writeFile(join(folder, 'third.yaml'), source.replace('invoice', 'report'));
  try {
    const { code, stderr } = await main([], { WRIT_MANIFEST_DIR: folder });
    assert.equal(code, 1);
    assert.match(stderr, /WRIT_MANIFEST_DIR: first\.yaml and second\.yaml in \S+ are both manifests of invoice-bot/);
    assert.doesNotMatch(stderr, /third|report-bot|cases/);
  } finally {
    await rm(folder, { recursive: true });
  }
});
