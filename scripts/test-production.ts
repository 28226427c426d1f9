/**
 * `npm run test:production`: a clone of the last commit, installed as production installs it and started, on
 * each Node that the README names for it. Prints what it measured; ends with 1 when something does not hold.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { styleText } from 'node:util';

/** `null`: the one that runs this. */
const nodes: (string | null)[] = [null];
const tooOld = '22.19.0';
const mostMegabytes = 250;
const root = join(import.meta.dirname, '..');
const folder = mkdtempSync(join(tmpdir(), 'writ-production-'));
let failed = 0;

function report(holds: boolean, line: string): void {
  console.log(`${styleText(holds ? 'green' : 'red', holds ? '✔' : '✘')} ${line}`);
  if (!holds) failed += 1;
}

/** @throws Error with what it said, when it failed */
function run(command: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = process.env): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stdout}${stderr}`, { cause: error });
  return stdout + stderr;
}

/** As `du` counts: whole blocks. */
function megabytesOf(path: string): number {
  const bytes = (at: string): number => {
    const { blocks } = lstatSync(at);
    const below = lstatSync(at).isDirectory() ? readdirSync(at).map((name) => bytes(join(at, name))) : [];
    return blocks * 512 + below.reduce((sum, one) => sum + one, 0);
  };
  return Math.round(bytes(path) / 1_000_000);
}

/** The environment in which `node` is this version. */
function withNode(version: string | null): NodeJS.ProcessEnv {
  let bin = dirname(process.execPath);
  if (version !== null) {
    const own = join(folder, `node-${version}`);
    run('npm', ['install', '--prefix', own, `node@${version}`], folder);
    bin = join(own, 'node_modules/.bin');
  }
  const elsewhere = (process.env.PATH ?? '').split(':').filter((at) => !at.includes('node_modules'));
  return {
    ...Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|WRIT_|DATABASE_URL)/i.test(name)),
    ),
    PATH: [bin, ...elsewhere].join(':'),
  };
}

/** What the broker said until it was ready or had gone. */
async function untilReady(broker: ChildProcess): Promise<{ url: string | null; said: string }> {
  let said = '';
  for (const stream of [broker.stdout!, broker.stderr!])
    stream.setEncoding('utf8').on('data', (text) => (said += text));
  while (broker.exitCode === null && broker.signalCode === null) {
    const url = /http:\/\/127\.0\.0\.1:[0-9]+/.exec(said)?.[0];
    const ready =
      url !== undefined &&
      (await fetch(`${url}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      ));
    if (ready) return { url, said };
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return { url: null, said };
}

async function start(clone: string, env: NodeJS.ProcessEnv, name: string) {
  const broker = spawn('npm', ['start'], {
    cwd: clone,
    env: { ...env, PORT: '0', WRIT_DATA_DIR: join(folder, `data-${name}`), NODE_ENV: 'production' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const began = performance.now();
  const { url, said } = await untilReady(broker);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  if (url !== null) {
    broker.kill('SIGTERM');
    await once(broker, 'exit');
  }
  return { ready: url !== null, said, seconds, code: broker.exitCode };
}

try {
  for (const version of nodes) {
    const env = withNode(version);
    const name = run('node', ['--version'], folder, env).trim();
    const clone = join(folder, `clone-${name}`);
    run('git', ['clone', '-q', '--depth', '1', `file://${root}`, clone], folder);
    const said = run('npm', ['ci', '--omit=dev'], clone, env);
    report(!said.includes('EBADENGINE'), `Node ${name}: npm ci --omit=dev, without a warning about the Node`);
    if (said.includes('EBADENGINE')) console.log(said);
    const size = megabytesOf(join(clone, 'node_modules'));
    report(size <= mostMegabytes, `Node ${name}: node_modules has ${size} MB (at most ${mostMegabytes})`);
    const started = await start(clone, env, name);
    report(started.ready, `Node ${name}: npm start, ready after ${started.seconds} s, and ended by SIGTERM`);
    if (!started.ready) console.log(started.said);
    if (version === null) {
      const old = await start(clone, withNode(tooOld), 'old');
      const line = /^writ: needs Node .*$/m.exec(old.said)?.[0];
      report(!old.ready && line !== undefined, `Node ${tooOld}: ${line ?? old.said}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed === 0 ? 'a production install holds' : `${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
