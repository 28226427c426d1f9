/** `writ hook install` and `uninstall`, as they are typed. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { compiled, writCommand, writFlags } from '../local/local.test-support.ts';
import { askShell } from './hook.test-support.ts';
import type { Agent } from './hook.ts';
import { before } from './payloads.test-support.ts';

const run = promisify(execFile);
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'writ-hook-'));
});
afterEach(() => rm(folder, { recursive: true }));

const home = () => join(folder, 'home');
/** In the project's folder, with nothing in PATH but Node. */
const writ = (args: readonly string[], env: { [name: string]: string } = {}) =>
  run(process.execPath, [...writFlags, writCommand, 'hook', ...args], {
    cwd: folder,
    env: { PATH: dirname(process.execPath), HOME: home(), NODE_NO_WARNINGS: '1', ...compiled, ...env },
  }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code: code as number, stdout: String(stdout), stderr: String(stderr) }),
  );
const read = (path: string) => readFile(join(folder, path), 'utf8');
const write = async (path: string, text: string) => {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), text);
};
const files = {
  'claude-code': '.claude/settings.json',
  codex: '.codex/hooks.json',
  opencode: '.opencode/plugins/writ.js',
};
const agents = Object.keys(files) as Agent[];

/** The commands of a settings file, by event. */
const commandsIn = (text: string): { [event: string]: string[] } =>
  Object.fromEntries(
    Object.entries(JSON.parse(text).hooks as { [event: string]: { hooks: { command: string }[] }[] }).map(
      ([event, groups]) => [event, groups.flatMap(({ hooks }) => hooks.map(({ command }) => command))],
    ),
  );

for (const agent of agents)
  describe(agent, () => {
    it('is installed once, shown before, and taken out without a trace', async () => {
      const shown = await writ(['install', agent, '--dry-run']);
      assert.match(shown.stderr, /would become this/);
      await assert.rejects(stat(join(folder, files[agent])), 'nothing is written');
      const first = await writ(['install', agent]);
      assert.equal(first.code, 0, first.stderr);
      assert.equal(await read(files[agent]), shown.stdout);
      const again = await writ(['install', agent]);
      assert.match(again.stdout, /is as it should be/);
      assert.equal(await read(files[agent]), shown.stdout);
      await writ(['install', agent, '--wait', '7']);
      assert.match(await read(files[agent]), /--wait 7\b/);
      assert.doesNotMatch(await read(files[agent]), /--wait 240/);
      assert.match((await writ(['uninstall', agent, '--dry-run'])).stderr, /would go/);
      assert.equal((await writ(['uninstall', agent])).code, 0);
      assert.deepEqual(await readdir(dirname(join(folder, files[agent]))), []);
      assert.match((await writ(['uninstall', agent])).stdout, /is as it should be/);
    });

    it('is installed for the person, where the agent’s own variable says', async () => {
      const own = { 'claude-code': '.claude/settings.json', codex: '.codex/hooks.json' } as const;
      const plugin = '.config/opencode/plugins/writ.js';
      await writ(['install', agent, '--user']);
      await stat(join(home(), agent === 'opencode' ? plugin : own[agent]));
      const named = join(folder, 'named');
      const env = { CLAUDE_CONFIG_DIR: named, CODEX_HOME: named, XDG_CONFIG_HOME: named };
      await writ(['install', agent, '--user'], env);
      const found = await readdir(named, { recursive: true });
      assert.ok(found.some((file) => /settings\.json|hooks\.json|writ\.js/.test(file)));
    });

    it('refuses a file that is somebody else’s or broken, and leaves it alone', async () => {
      const faulty: [string, RegExp][] =
        agent === 'opencode'
          ? [['export const Mine = async () => ({});\n', /not a plugin that/]]
          : [
              ['{ "hooks": { } // a comment\n}', /is not JSON/],
              ['{ "hooks": ', /is not JSON/],
              ['[]', /must be an object/],
              ['{ "hooks": [] }', /hooks: must be an object/],
              ['{ "hooks": { "PreToolUse": {} } }', /hooks\.PreToolUse: must be a list/],
              ['{ "hooks": { "Stop": [null] } }', /hooks\.Stop\.0: must be an object/],
              ['{ "hooks": { "Stop": [{ "hooks": "x" }] } }', /hooks\.Stop\.0\.hooks: must be a list/],
              ['{ "hooks": { "Stop": [{ "hooks": [1] }] } }', /hooks\.Stop\.0\.hooks\.0: must be an object/],
            ];
      for (const [text, fault] of faulty) {
        await write(files[agent], text);
        for (const verb of ['install', 'uninstall']) {
          const { code, stderr } = await writ([verb, agent]);
          assert.equal(code, 1);
          assert.match(stderr, fault, text);
          assert.ok(stderr.includes(files[agent]), stderr);
        }
        assert.equal(await read(files[agent]), text);
      }
    });
  });

describe('a settings file with other things in it', () => {
  const theirs = {
    model: 'opus',
    hooks: {
      PreToolUse: [{ matcher: 'Bash', hooks: [{ type: 'command', command: './check.sh', timeout: 5 }] }],
      Stop: [{ hooks: [{ type: 'command', command: 'notify' }] }],
      Notification: [],
    },
    permissions: { deny: ['Read(./.env)'] },
  };

  it('keeps them, their order and its indent', async () => {
    const text = `${JSON.stringify(theirs, null, '\t')}\n`;
    await write(files['claude-code'], text);
    await writ(['install', 'claude-code']);
    const installed = await read(files['claude-code']);
    assert.match(installed, /^\{\n\t"model": "opus",\n\t"hooks"/);
    const { hooks, ...rest } = JSON.parse(installed);
    assert.deepEqual(rest, { model: 'opus', permissions: theirs.permissions });
    assert.deepEqual(hooks.PreToolUse[0], theirs.hooks.PreToolUse[0]);
    assert.deepEqual(hooks.Stop, theirs.hooks.Stop);
    assert.equal(hooks.PreToolUse[1].matcher, '*');
    assert.equal(hooks.PreToolUse[1].hooks[0].onFailure, 'block');
    await writ(['uninstall', 'claude-code']);
    assert.equal(await read(files['claude-code']), text);
  });

  it('loses ours from a group that somebody added to, and nothing of theirs', async () => {
    await writ(['install', 'codex']);
    const settings = JSON.parse(await read(files.codex));
    settings.hooks.PreToolUse[0].hooks.push({ type: 'command', command: './mine.sh' });
    await write(files.codex, JSON.stringify(settings));
    await writ(['uninstall', 'codex']);
    assert.deepEqual(JSON.parse(await read(files.codex)), {
      hooks: { PreToolUse: [{ matcher: '*', hooks: [{ type: 'command', command: './mine.sh' }] }] },
    });
  });

  it('is not written where the agent runs no hooks at all', async () => {
    await write(files['claude-code'], '{ "disableAllHooks": true }');
    const { code, stderr } = await writ(['install', 'claude-code']);
    assert.deepEqual([code, /disableAllHooks/.test(stderr)], [1, true]);
  });

  it('stays a link, with its rights', async () => {
    await write('dotfiles/claude.json', '{}');
    await chmod(join(folder, 'dotfiles/claude.json'), 0o600);
    await mkdir(join(folder, '.claude'));
    await symlink('../dotfiles/claude.json', join(folder, files['claude-code']));
    await writ(['install', 'claude-code']);
    assert.ok((await lstat(join(folder, files['claude-code']))).isSymbolicLink());
    assert.match(await read('dotfiles/claude.json'), /PreToolUse/);
    assert.equal((await stat(join(folder, 'dotfiles/claude.json'))).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(join(folder, 'dotfiles')), ['claude.json']);
  });
});

describe('the command that is written', () => {
  it('asks, and denies where there is no session', async () => {
    for (const agent of ['claude-code', 'codex'] as const) {
      await writ(['install', agent]);
      const commands = commandsIn(await read(files[agent]));
      const { code, stdout } = await askShell(
        commands.PreToolUse![0]!,
        before(agent, { tool: 'Bash', input: {}, id: 'a' }),
      );
      assert.equal(code, 0);
      assert.match(stdout, /"deny".*No session is open here/);
    }
  });

  it('is `writ` where a shell finds it, this installation where it does not, or what was said', async () => {
    await write('bin/writ', '#!/bin/sh\n');
    await chmod(join(folder, 'bin/writ'), 0o755);
    const of = async (args: string[], env = {}) =>
      commandsIn((await writ(['install', 'codex', '--dry-run', ...args], env)).stdout).PreToolUse![0]!;
    const found = await of([], { PATH: `${join(folder, 'bin')}:${dirname(process.execPath)}` });
    assert.match(found, /^\/bin\/sh -c 'writ hook codex --wait 240 \|\|/);
    assert.ok((await of([])).startsWith(`/bin/sh -c '"${process.execPath}" "${writCommand}" hook codex`));
    assert.match(await of(['--command', "npx 'writ'"]), /^\/bin\/sh -c 'npx '\\''writ'\\'' hook codex/);
  });

  it('is not understood for agents that nobody knows', async () => {
    for (const args of [
      ['install'],
      ['install', 'vim'],
      ['install', 'codex', '--wait', '-1'],
      ['uninstall', 'constructor'],
    ])
      assert.notEqual((await writ(args)).code, 0, args.join(' '));
    assert.deepEqual(await readdir(folder), []);
  });
});
