/**
 * `writ` as its users get it: packed, installed without a network in an empty folder, run by plain Node,
 * without a broker beside it.
 *
 * @deep
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import pg from 'pg';
import { checkpointKey, hashOf, publicName, signCheckpoint } from '../../broker/audit/checkpoint-format.ts';
import { createTestDatabase, testBackends } from '../../broker/store/store.test-support.ts';
import { installPacked, ofTheBroker, ownNode, repository, run } from '../install.test-support.ts';

const example = join(repository, 'client/test-manifest.yaml');
const server = (await testBackends()).includes('postgres');

let project: string;
let installed: string[];
before(async () => {
  project = await mkdtemp(join(tmpdir(), 'writ-cli-'));
  installed = await installPacked(import.meta.dirname, project);
});
after(() => rm(project, { recursive: true }));

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs the installed command, with nothing in its environment but what is given. */
async function writ(args: string[], env: { [name: string]: string } = {}, node = process.execPath): Promise<Outcome> {
  const command = join(project, 'node_modules/.bin/writ');
  return run(node, [command, ...args], { cwd: project, env }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }: Outcome) => ({ code, stdout, stderr }),
  );
}

describe('what is installed', () => {
  it('is the command and the few packages it needs, and nothing of the broker', async () => {
    assert.deepEqual(installed.filter(ofTheBroker), []);
    const { dependencies } = JSON.parse(await readFile(join(import.meta.dirname, 'package.json'), 'utf8'));
    for (const name of ['writ', ...Object.keys(dependencies)]) assert.ok(installed.includes(name), name);
    assert.ok(installed.length < 30, installed.join(' '));
    const dist = join(project, 'node_modules/writ/dist');
    for (const absent of ['broker/store', 'broker/http', 'providers/registry.js', 'providers/aws/index.js'])
      await assert.rejects(access(join(dist, absent)), absent);
  });
});

describe('manifest check', () => {
  const good = `✔ ${example}: invoice-bot, 1 task types, 4 capabilities\n`;

  it('reads a manifest against every provider’s parameters', async () => {
    assert.deepEqual(await writ(['manifest', 'check', example]), { code: 0, stdout: good, stderr: '' });
  });

  it('names each fault with its place, and exits 1', async () => {
    const broken = join(project, 'broken.yaml');
    await writeFile(broken, (await readFile(example, 'utf8')).replace('bucket: orders', 'bucket: ORDERS'));
    const { code, stdout, stderr } = await writ(['manifest', 'check', example, broken]);
    assert.deepEqual([code, stdout], [1, good]);
    assert.match(
      stderr,
      /^✘ \S+broken\.yaml:\d+:\d+: capabilities\.read-customer-files\.params\.bucket: the provider aws/,
    );
  });

  it('refuses a name that a broker refuses, tells of a file that is not there, and goes on', async () => {
    const short = join(project, 'short.yml');
    await writeFile(short, await readFile(example));
    const nowhere = join(project, 'nowhere.yaml');
    const source = (await readFile(example, 'utf8')).replace('agent: invoice-bot', 'agent: other-bot');
    const other = join(project, 'other-bot.yaml');
    await writeFile(other, source);
    assert.deepEqual(await writ(['manifest', 'check', nowhere, short, project, other]), {
      code: 1,
      stdout: good.replace('invoice-bot', 'other-bot').replace(example, other),
      stderr:
        `✘ ${nowhere}: there is no such file\n` +
        `✘ ${short}:1:1: a manifest’s name ends in .yaml; rename it\n` +
        `✘ ${project}: is a folder; name the files in it\n`,
    });
  });

  it('warns of a permission that only GitHub can judge, and takes it', async () => {
    const warned = join(project, 'warned.yaml');
    const capability = [
      '  read-variables:',
      '    description: Read variables.',
      '    provider: github',
      `    tasks: [${/^task_types:\n {2}(\S+):/m.exec(await readFile(example, 'utf8'))?.[1]}]`,
      '    tier: 1',
      '    max_ttl: 5m',
      '    params: { owner: example-org, repositories: all, permissions: { contens: read } }',
    ].join('\n');
    await writeFile(
      warned,
      (await readFile(example, 'utf8')).replace('capabilities:\n', `capabilities:\n${capability}\n`),
    );
    const { code, stderr } = await writ(['manifest', 'check', warned]);
    assert.equal(code, 0, stderr);
    assert.match(
      stderr,
      /^! \S+warned\.yaml:\d+:\d+: .*contens: is a permission Writ does not know.*Did you mean contents\?\n$/,
    );
  });

  it('says which file it cannot read', async () => {
    const { code, stderr } = await writ(['manifest', 'check', 'nowhere.yaml']);
    assert.equal(code, 1);
    assert.match(stderr, /^✘ .*nowhere\.yaml/);
  });

  it('runs on the machine’s own Node too', async (test) => {
    const node = await ownNode();
    if (node === null) return test.skip('no Node 20 or newer outside node_modules in PATH');
    test.diagnostic(`Node ${node.version}`);
    assert.deepEqual(await writ(['manifest', 'check', example], {}, node.path), { code: 0, stdout: good, stderr: '' });
  });
});

describe('manifest test', () => {
  const cases = `apiVersion: writ/v1
session: { task_type: answer-invoice-question, inputs: { customer_id: "42" } }
cases:
  - name: one customer's files
    steps:
      - { grant: read-customer-files }
      - { grant: read-customer-files, params: { bucket: others }, expect: { effect: deny, reason: param_not_bound_value } }
`;
  const write = async (name: string, changed: string) => {
    await writeFile(join(project, `${name}.yaml`), await readFile(example));
    await writeFile(join(project, `${name}.cases.yaml`), changed);
    return join(project, `${name}.cases.yaml`);
  };

  it('runs the cases beside a manifest, once, and checks them', async () => {
    const file = await write('tested', cases);
    const good = { code: 0, stdout: `✔ ${file}: 1 cases\n`, stderr: '' };
    assert.deepEqual(await writ(['manifest', 'test', join(project, 'tested.yaml'), file]), good);
    assert.deepEqual(await writ(['manifest', 'check', file]), good);
  });

  it('says what was decided instead, and exits 1', async () => {
    const file = await write('failing', cases.replace('effect: deny, reason: param_not_bound_value', 'effect: allow'));
    const { code, stderr } = await writ(['manifest', 'test', file]);
    assert.equal(code, 1);
    assert.match(stderr, /one customer's files\n +\S+failing\.cases\.yaml:7: step 2, read-customer-files/);
    assert.match(stderr, /expected allow\n +decided {2}deny\n +because {2}param_not_bound_value/);
  });

  it('fails where there is nothing to run, and on a file with faults', async () => {
    assert.equal((await writ(['manifest', 'test', example])).code, 1);
    const file = await write('broken', 'apiVersion: writ/v1\ncases: []\n');
    const { code, stderr } = await writ(['manifest', 'test', file]);
    assert.equal(code, 1);
    assert.match(stderr, /^✘ \S+broken\.cases\.yaml:2:1: cases: /);
  });
});

describe('manifest diff', () => {
  it('compares two files without a broker; exits 1 on demand where more passes', async () => {
    const source = await readFile(example, 'utf8');
    const [one, other] = [join(project, 'one.yaml'), join(project, 'other.yaml')];
    await writeFile(one, source);
    await writeFile(other, source.replace('enum: [read, list], default: read', 'enum: [read, write], default: read'));
    const said = await writ(['manifest', 'diff', other, '--against', one, '--fail-on-widening']);
    assert.deepEqual([said.code, said.stderr], [1, '']);
    assert.match(
      said.stdout,
      /^\? read-customer-files may now read, write; before: read, list \(.*\n✘ allows more than/,
    );
    assert.equal((await writ(['manifest', 'diff', other, '--against', one])).code, 0);
    const same = await writ(['manifest', 'diff', one, '--against', one, '--json']);
    assert.deepEqual(JSON.parse(same.stdout), { against: one, widens: false, changes: [] });
    const { code, stderr } = await writ(['manifest', 'diff', one]);
    assert.deepEqual([code, /^✘ WRIT_URL is not set/.test(stderr)], [1, true]);
    assert.equal((await writ(['manifest', 'diff', one, other])).code, 2);
  });
});

describe('audit verify on a PostgreSQL server', { skip: server ? false : 'no PostgreSQL answers' }, () => {
  let database: Awaited<ReturnType<typeof createTestDatabase>>;
  let client: pg.Client;
  before(async () => {
    database = await createTestDatabase();
    client = new pg.Client({ connectionString: database.url });
    await client.connect();
    await client.query(`INSERT INTO audit_event (chain, at, type, actor, payload)
      SELECT chain, '2026-01-01T00:00:00Z', 'test.' || n, 'tester', '{"a":1}'::json
      FROM unnest(ARRAY['alpha', 'beta']) chain, generate_series(1, 3) n ORDER BY chain, n`);
  });
  after(async () => {
    await client.end();
    await database.drop();
  });
  const verify = (env: { [name: string]: string } = {}) =>
    writ(['audit', 'verify'], { DATABASE_URL: database.url, ...env });
  const tamper = async (text: string) => {
    await client.query('ALTER TABLE audit_event DISABLE TRIGGER USER');
    await client.query(text);
    await client.query('ALTER TABLE audit_event ENABLE TRIGGER USER');
  };

  it('holds when nothing was touched', async () => {
    assert.deepEqual(await verify(), { code: 0, stdout: '✔ 6 rows in 2 chains hold\n', stderr: '' });
  });

  it('exits 1 and names the row that was changed, or where a chain was cut', async () => {
    await tamper(`UPDATE audit_event SET actor = 'intruder' WHERE chain = 'alpha' AND seq = 2`);
    assert.deepEqual(await verify(), { code: 1, stdout: '', stderr: '✘ chain alpha, row 2: row was changed\n' });
    await tamper(`UPDATE audit_event SET actor = 'tester' WHERE chain = 'alpha' AND seq = 2`);
    await tamper(`DELETE FROM audit_event WHERE chain = 'beta' AND seq = 3`);
    assert.deepEqual(await verify(), { code: 1, stdout: '', stderr: '✘ chain beta, row 3: tail was cut off\n' });
  });

  it('checks against signed checkpoints, and against the key that must have signed them', async () => {
    await tamper(`DELETE FROM audit_event WHERE chain = 'beta'`);
    await tamper(`DELETE FROM audit_chain WHERE chain = 'beta'`);
    const { rows } = await client.query(`SELECT chain, seq, head FROM audit_chain`);
    const heads = rows.map(({ chain, seq, head }) => [chain, seq, head] as [string, number, string]);
    // One name in 64 begins with a dash, and is no option for that.
    let kek = randomBytes(32);
    while (!publicName(checkpointKey(kek)).startsWith('-')) kek = randomBytes(32);
    const key = checkpointKey(kek);
    const at = '2026-01-01T00:05:00.000Z';
    const first = signCheckpoint({ number: 1, previous: '', at, heads }, key);
    const second = signCheckpoint({ number: 2, previous: hashOf(first), at, heads: [['beta', 3, 'ff']] }, key);
    const file = join(project, 'checkpoints');
    await writeFile(file, `${first}\n`);
    const args = ['audit', 'verify', '--checkpoints', file];
    const env = { DATABASE_URL: database.url };
    assert.deepEqual(await writ([...args, '--checkpoint-key', publicName(key)], env), {
      code: 0,
      stdout: `✔ 3 rows in 1 chains hold\n✔ 1 checkpoints hold, the last of ${at}; signed by ${publicName(key)}\n`,
      stderr: '',
    });
    assert.match((await writ(args, env)).stdout, /which was compared with nothing/);
    // The broker has written more by now: one of them, and another that waits for its sink.
    const row = (pending: string) => `INSERT INTO audit_checkpoint (number, hash, cursor, due_at, pending)
      VALUES (3, '', '', now(), ${pending})`;
    for (const [pending, delivered] of [
      ['NULL', 3],
      [`'one'`, 2],
      [`E'one\\ntwo'`, null],
    ] as const) {
      await client.query('DELETE FROM audit_checkpoint');
      await client.query(row(pending));
      const { code, stderr } = await writ(args, env);
      const told = delivered === null ? /^$/ : new RegExp(`has delivered ${delivered} checkpoints: those after 1 are`);
      assert.equal(code, 0);
      assert.match(stderr, told);
    }
    await client.query('DELETE FROM audit_checkpoint');
    const own = { WRIT_KEY_ENCRYPTION_KEY: kek.toString('base64url') };
    assert.deepEqual((await writ(['audit', 'key'], own)).stdout, `${publicName(key)}\n`);
    assert.equal(
      (await writ(args, { ...env, WRIT_KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64url') })).code,
      1,
    );
    await writeFile(file, `${second}\n`);
    assert.deepEqual(await writ(args, env), { code: 1, stdout: '', stderr: '✘ checkpoint 1 is missing\n' });
    await writeFile(file, `${first}\n${second}\n`);
    assert.deepEqual(await writ(args, { ...env, ...own }), {
      code: 1,
      stdout: '',
      stderr: '✘ chain beta, row 1: chain that a checkpoint signed is gone\n',
    });
  });

  it('reads the schema that it is told, and says when no record is there', async () => {
    assert.deepEqual(await verify({ WRIT_DATABASE_SCHEMA: 'elsewhere' }), {
      code: 1,
      stdout: '',
      stderr: '✘ The schema elsewhere of this database holds no record of Writ’s\n',
    });
    assert.match((await verify({ WRIT_DATABASE_SCHEMA: 'Else"where' })).stderr, /WRIT_DATABASE_SCHEMA: must be/);
  });
});

describe('what runs where the broker runs', () => {
  it('audit verify of an embedded database: told where', async () => {
    const { code, stderr } = await writ(['audit', 'verify']);
    assert.equal(code, 1);
    assert.match(stderr, /DATABASE_URL is not set.*where its broker runs/);
  });

  it('keys rotate: told where', async () => {
    const { code, stderr } = await writ(['keys', 'rotate']);
    assert.equal(code, 1);
    assert.match(stderr, /runs where the broker runs/);
  });
});

describe('the agent’s side', () => {
  it('is all there, and says what is missing', async () => {
    const node = (await ownNode())?.path;
    for (const [args, env, said] of [
      [['session', 'status'], {}, /WRIT_SESSION_SOCKET is not set/],
      [['session', 'open', '--', 'true'], {}, /WRIT_URL is not set/],
      [['guard'], {}, /Give the server as a command after --/],
      [['guard', '--', 'true'], { WRIT_STATE_DIR: project }, /WRIT_URL is not set/],
      [['guard', '--', 'true'], { WRIT_STATE_DIR: project, WRIT_SESSION_SOCKET: '/nowhere/session' }, /no session at/],
      [['guard', '--url', 'http://example.com'], { WRIT_STATE_DIR: project }, /WRIT_URL is not set/],
    ] as const) {
      const { code, stdout, stderr } = await writ([...args], env, node);
      assert.deepEqual([code, stdout], [1, ''], stderr);
      assert.match(stderr, said);
    }
    const pins = await writ(['guard', 'pins'], { WRIT_STATE_DIR: project }, node);
    assert.deepEqual([pins.code, pins.stdout], [0, 'nothing is pinned yet\n']);
  });
});

describe('a command that is none', () => {
  for (const args of [[], ['manifest'], ['manifest', 'check'], ['--no-such-option']])
    it(`${JSON.stringify(args)} is exit 2, with the usage`, async () => {
      const { code, stdout, stderr } = await writ(args);
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, /writ manifest check FILE/);
    });

  it('is told with the one that was meant, and so is an option', async () => {
    for (const [args, said] of [
      [['manifest', 'chek', example], /^✘ there is no command manifest chek; did you mean writ manifest check\?\n/],
      [['manifst', 'check', example], /did you mean writ manifest check\?/],
      [['manifest', 'diff', example, '--jsn'], /^✘ --jsn is no option of it; did you mean --json\?\n/],
      [['session', 'open', '--taks-type', 'x'], /^✘ --taks-type is no option of it; did you mean --task-type\?\n/],
    ] as const) {
      const { code, stdout, stderr } = await writ([...args]);
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, said);
      assert.doesNotMatch(stderr, /^ +at /m, 'no stack');
    }
  });

  it('--version is the package’s', async () => {
    const { version } = JSON.parse(await readFile(join(import.meta.dirname, 'package.json'), 'utf8'));
    assert.deepEqual(await writ(['--version']), { code: 0, stdout: `writ ${version}\n`, stderr: '' });
  });

  it('--help is the usage, and exit 0', async () => {
    const { code, stdout } = await writ(['--help']);
    assert.equal(code, 0);
    assert.match(stdout, /writ manifest check FILE/);
  });
});
