import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import { runWrit } from './run.ts';
import { helpOn, usage, whichCommand } from './usage.ts';

/** Runs a command in this process, and keeps what it prints. */
async function said(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const told = { out: '', err: '' };
  const { log, error } = console;
  console.log = (line: string) => {
    told.out += `${line}\n`;
  };
  console.error = (line: string) => {
    told.err += `${line}\n`;
  };
  try {
    return { code: await runWrit(args, null), ...told };
  } finally {
    Object.assign(console, { log, error });
  }
}

test('every command tells of itself with --help, and asks nobody', async () => {
  const commands = [...usage.matchAll(/^ {2}writ ([a-z-]+(?: [a-z-]+)*)/gm)].map(([, words]) =>
    words!.split(' ').slice(0, 2),
  );
  assert.ok(commands.length > 30);
  for (const words of commands) {
    const { code, out, err } = await said(...words, '--help');
    assert.deepEqual([code, err], [0, ''], words.join(' '));
    assert.match(out, new RegExp(`^ {2}writ ${words[0]}\\b`), words.join(' '));
    assert.ok(out.length < usage.length, words.join(' '));
  }
  assert.match((await said('session', 'open', '--help')).out, /OPENING is --task-type/);
});

test('what follows -- is another program’s, and a hook that is called wrongly says nothing that would let a call through', async () => {
  const { code, out } = await said('session', 'open', '--', 'true', '--help');
  assert.deepEqual([code, out], [1, '']);
});

test('a misspelt command is told with the one that was meant, once', () => {
  assert.match(
    whichCommand(['lock', 'agnt', 'x']),
    /^✘ there is no command lock agnt; did you mean writ lock agent\?\n/,
  );
  assert.match(whichCommand(['lock', 'list', 'x']), /^✘ this is not how it is called:\n\n {2}writ lock list/);
  assert.match(whichCommand(['nonsense']), /^✘ there is no command nonsense\nwrit --help/);
  assert.equal(helpOn(['nonsense']), null);
  assert.ok(!whichCommand(['\u001b[31m', 'x']).includes('\u001b'));
});

test('nobody who reads on is no failure, and no stack', async () => {
  const child = spawn(process.execPath, [
    '--disable-warning=ExperimentalWarning',
    join(import.meta.dirname, 'writ.ts'),
    '--help',
  ]);
  let err = '';
  child.stderr.on('data', (text) => {
    err += text;
  });
  child.stdout.destroy();
  const [code] = (await once(child, 'exit')) as [number];
  assert.deepEqual([code, err], [0, '']);
});
