/** The quickstart as a process, with a temporary folder of its own. */
import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../broker/until.test-support.ts';

const root = join(import.meta.dirname, '../..');

export async function runQuickstart(args: string[]) {
  const folder = await mkdtemp(join(tmpdir(), 'writ-run-'));
  // The second flag as for every test file (docs/decisions/test-runner.md).
  const flags = ['--disable-warning=ExperimentalWarning', '--liftoff-only'];
  const child = spawn(process.execPath, [...flags, 'scripts/quickstart.ts', ...args], {
    cwd: root,
    env: { PATH: process.env.PATH, HOME: folder, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      said += chunk;
    });
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  return {
    said: () => said,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    exited,
    /** Resolves when it has said this, or has ended. */
    hears: (text: string) => until(text, () => said.includes(text) || child.exitCode !== null),
    /** Whatever is in its temporary folder, and processes that were started with something in it. */
    left: async () => [...(await readdir(folder)), ...(await processesOf(folder))],
    remove: async () => {
      child.kill('SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Where there is no /proc, none is found. */
async function processesOf(folder: string): Promise<string[]> {
  const ids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(ids.map((id) => readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '')));
  return lines.filter((line) => line.includes(folder));
}
