/**
 * `npm run test:production`: a clone of the last commit, installed as production installs it, and started; an
 * older Node says in one line what it takes. Prints what it measured; ends with 1 when something does not
 * hold.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { styleText } from 'node:util';

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
    const stat = lstatSync(at);
    const below = stat.isDirectory() ? readdirSync(at).map((name) => bytes(join(at, name))) : [];
    return stat.blocks * 512 + below.reduce((sum, one) => sum + one, 0);
  };
  return Math.round(bytes(path) / 1_000_000);
}

/** Of a shell in which `node` is the one in this folder, and nothing of this repository is set. */
function environment(bin: string): NodeJS.ProcessEnv {
  const elsewhere = (process.env.PATH ?? '').split(':').filter((at) => !at.includes('node_modules'));
  const others = Object.entries(process.env).filter(([name]) => !/^(npm_|NODE_|WRIT_|DATABASE_URL)/i.test(name));
  return { ...Object.fromEntries(others), PATH: [bin, ...elsewhere].join(':') };
}

/** @returns whether the broker became ready, and all that it said until then or its end */
async function untilReady(broker: ChildProcess): Promise<{ ready: boolean; said: string }> {
  let said = '';
  for (const stream of [broker.stdout!, broker.stderr!])
    stream.setEncoding('utf8').on('data', (text) => {
      said += text;
    });
  while (broker.exitCode === null && broker.signalCode === null) {
    const url = /http:\/\/127\.0\.0\.1:[0-9]+/.exec(said)?.[0];
    const ready = async (at: string) => (await fetch(`${at}/readyz`)).ok;
    if (url !== undefined && (await ready(url).catch(() => false))) return { ready: true, said };
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return { ready: false, said };
}

async function start(clone: string, env: NodeJS.ProcessEnv) {
  const broker = spawn('npm', ['start'], {
    cwd: clone,
    env: { ...env, PORT: '0', WRIT_DATA_DIR: join(folder, 'data'), NODE_ENV: 'production' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(broker, 'exit');
  const began = performance.now();
  const { ready, said } = await untilReady(broker);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  if (ready) broker.kill('SIGTERM');
  await ended;
  return { ready, said, seconds };
}

try {
  const clone = join(folder, 'clone');
  run('git', ['clone', '-q', '--depth', '1', `file://${root}`, clone], folder);
  const env = environment(dirname(process.execPath));
  const name = `Node ${process.versions.node}`;
  run('npm', ['ci', '--omit=dev'], clone, env);
  const size = megabytesOf(join(clone, 'node_modules'));
  report(size <= mostMegabytes, `${name}: npm ci --omit=dev, ${size} MB (at most ${mostMegabytes})`);
  const started = await start(clone, env);
  report(started.ready, `${name}: npm start, ready after ${started.seconds} s, and ended by SIGTERM`);
  if (!started.ready) console.log(started.said);

  const other = join(folder, 'node');
  run('npm', ['install', '--prefix', other, `node@${tooOld}`], folder);
  const refused = await start(clone, environment(join(other, 'node_modules/.bin')));
  const line = /^writ: needs Node .*$/m.exec(refused.said)?.[0];
  report(!refused.ready && line !== undefined, `Node ${tooOld}: ${line ?? refused.said}`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed === 0 ? 'a production install holds' : `${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
