/**
 * The real coding agents, with a stand-in for their model's API: the hook that `writ hook install` writes is
 * run by them, a denied call is not made, and their model reads why. The agents are large, and one is not
 * free software, so they are none of this repository's packages: `WRIT_TEST_AGENTS` names a folder where
 * `npm install @anthropic-ai/claude-code @openai/codex opencode-ai` was run (Linux). Without it, each is said
 * to be not tested.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, it } from 'node:test';
import { type Harness, openHarness } from '../broker.test-support.ts';
import { agentEnvironment, writCommand } from '../local/local.test-support.ts';
import { manifestFolder } from './hook.test-support.ts';
import type { Agent } from './hook.ts';
import { type PlannedCall, startModel } from './model.test-support.ts';

const installed = process.env.WRIT_TEST_AGENTS;
const machine = `${process.platform}-${process.arch}`;
const triple = { 'linux-x64': 'x86_64-unknown-linux-musl', 'linux-arm64': 'aarch64-unknown-linux-musl' }[machine];
const programs: { [agent in Agent]: string } = {
  'claude-code': `@anthropic-ai/claude-code-${machine}/claude`,
  codex: `@openai/codex-${machine}/vendor/${triple}/bin/codex`,
  opencode: `opencode-${machine}/bin/opencode`,
};

async function programOf(agent: Agent): Promise<string | null> {
  const path = join(installed ?? '', 'node_modules', programs[agent]);
  const found =
    installed !== undefined &&
    (await access(path)
      .then(() => true)
      .catch(() => false));
  return found ? path : null;
}

/** The shell of each agent, in its model's words. */
const shell: { [agent in Agent]: (command: string) => PlannedCall } = {
  'claude-code': (command) => ({ name: 'Bash', input: { command, description: 'Run it' } }),
  codex: (command) => ({ name: 'exec_command', input: { cmd: command } }),
  opencode: (command) => ({ name: 'bash', input: { command, description: 'Run it' } }),
};

/** What a model tells a sub-agent of its own. */
const toSubAgent = 'Fetch https://unwanted.example/page';
const subAgent: { [agent in Agent]: PlannedCall } = {
  'claude-code': { name: 'Agent', input: { description: 'x', prompt: toSubAgent, subagent_type: 'general-purpose' } },
  codex: { namespace: 'multi_agent_v1', name: 'spawn_agent', input: { message: toSubAgent } },
  opencode: { name: 'task', input: { description: 'x', prompt: toSubAgent, subagent_type: 'general' } },
};

interface Project {
  folder: string;
  home: string;
}

/** What each needs to run a prompt without asking anybody, against the model. */
async function prepared(agent: Agent, { folder, home }: Project, model: string) {
  const prompt = 'Please look at https://wanted.example/page';
  switch (agent) {
    case 'claude-code':
      return {
        args: ['-p', prompt, '--allowedTools', 'Bash,Agent'],
        env: {
          ANTHROPIC_BASE_URL: model,
          ANTHROPIC_API_KEY: 'none',
          CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
          DISABLE_AUTOUPDATER: '1',
        },
      };
    case 'codex': {
      await mkdir(join(home, '.codex'), { recursive: true });
      const provider = `name = "m"\nbase_url = "${model}/v1"\nwire_api = "responses"\nenv_key = "MODEL_KEY"`;
      const trust = `[projects.${JSON.stringify(folder)}]\ntrust_level = "trusted"`;
      const config = `model = "gpt-5.5"\nmodel_provider = "m"\n[model_providers.m]\n${provider}\n${trust}\n`;
      await writeFile(join(home, '.codex/config.toml'), config);
      const unasked = ['--dangerously-bypass-hook-trust', '--dangerously-bypass-approvals-and-sandbox'];
      return { args: ['exec', '--skip-git-repo-check', ...unasked, prompt], env: { MODEL_KEY: 'none' } };
    }
    case 'opencode': {
      const options = { baseURL: `${model}/v1`, apiKey: 'none' };
      const m = { npm: '@ai-sdk/openai-compatible', name: 'm', options, models: { m: { name: 'm' } } };
      const config = { provider: { m }, model: 'm/m', small_model: 'm/m', autoupdate: false, permission: 'allow' };
      await writeFile(join(folder, 'opencode.json'), JSON.stringify(config));
      return { args: ['run', prompt], env: { OPENCODE_DISABLE_AUTOUPDATE: '1', OPENCODE_DISABLE_MODELS_FETCH: '1' } };
    }
  }
}

let manifests: string;
let harness: Harness;
before(async () => {
  if (installed === undefined) return;
  manifests = await manifestFolder();
  harness = await openHarness({ env: { WRIT_MANIFEST_DIR: manifests } });
});
after(async () => {
  if (installed === undefined) return;
  await harness.close();
  await rm(manifests, { recursive: true });
});

const end = async (program: string, args: readonly string[], folder: string, env: { [name: string]: string }) => {
  const child = spawn(program, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code, said: stdout + stderr };
};

for (const agent of Object.keys(programs) as Agent[]) {
  const program = await programOf(agent);
  describe(agent, { skip: program === null ? `NOT TESTED: WRIT_TEST_AGENTS has no ${programs[agent]}` : false }, () => {
    let project: Project;
    before(async () => {
      const folder = await mkdtemp(join(tmpdir(), 'writ-agent-'));
      project = { folder, home: join(folder, '.home') };
      await mkdir(project.home);
    });
    after(() => rm(project.folder, { recursive: true }));

    /** Runs the agent on a prompt, with a model that makes these calls; with a session, or without one. */
    const runs = async (calls: readonly PlannedCall[], session: boolean) => {
      const model = await startModel(calls);
      try {
        const { args, env } = await prepared(agent, project, model.url);
        const common = {
          PATH: `${dirname(process.execPath)}:/usr/bin:/bin`,
          HOME: project.home,
          NODE_NO_WARNINGS: '1',
        };
        const writ = { ...agentEnvironment(harness), ...common };
        await end(process.execPath, [writCommand, 'hook', 'install', agent], project.folder, common);
        const opened = [writCommand, 'session', 'open', '--task-type', 'code', '--', program!, ...args];
        const { said } = session
          ? await end(process.execPath, opened, project.folder, { ...writ, ...env })
          : await end(program!, args, project.folder, { ...common, ...env });
        return { told: model.told(), said };
      } finally {
        await model.close();
      }
    };
    const exists = (name: string) =>
      access(join(project.folder, name)).then(
        () => true,
        () => false,
      );

    const words = () => harness.broker.store.prisma.auditEvent.count({ where: { type: 'session.words_said' } });
    const newestCalls = async () => {
      const session = await harness.broker.store.prisma.session.findFirstOrThrow({ orderBy: { openedAt: 'desc' } });
      assert.equal(session.endReason, 'ended_by_agent');
      const where = { sessionId: session.id };
      const made = await harness.broker.store.prisma.action.findMany({ where, orderBy: { askedAt: 'asc' } });
      return made.map(({ tool, outcome }) => [tool, outcome]);
    };

    it('makes allowed calls and reports them, and makes no denied one', async () => {
      const earlier = await words();
      const plan = ['echo ran > allowed.txt', 'sudo touch root.txt', 'ls no-such-file'].map(shell[agent]);
      const { told, said } = await runs(plan, true);
      assert.match(told, /Nothing here needs root/, said);
      assert.deepEqual([await exists('allowed.txt'), await exists('root.txt')], [true, false]);
      const tool = agent === 'opencode' ? 'bash' : 'Bash';
      // A command that ends with an error is an error to Claude Code, and an output to the others.
      const failed = agent === 'claude-code' ? 'error' : 'response';
      assert.deepEqual(await newestCalls(), [
        [tool, 'response'],
        [tool, null],
        [tool, failed],
      ]);
      assert.equal(await words(), earlier + 1);
    });

    if (agent === 'opencode')
      it('reports a tool that failed', async () => {
        await runs([{ name: 'read', input: { filePath: '/nonexistent' } }], true);
        assert.deepEqual(await newestCalls(), [['read', 'error']]);
      });

    it('says nothing as the person’s that a model told its sub-agent', async () => {
      const earlier = await words();
      // Where the agent waits for its sub-agent, that one makes the next call, asked for like any other.
      const [next, expected] =
        agent === 'opencode' ? ([[shell.opencode('sudo ls')], [['bash', null]]] as const) : ([[], []] as const);
      const { said } = await runs([subAgent[agent], ...next], true);
      assert.deepEqual(await newestCalls(), [[subAgent[agent].name, 'response'], ...expected], said);
      assert.equal(await words(), earlier + 1);
    });

    it('makes no call without a session', async () => {
      const { told, said } = await runs([shell[agent]('echo ran > alone.txt')], false);
      assert.match(told, /No session is open here/, said);
      assert.equal(await exists('alone.txt'), false);
    });
  });
}
