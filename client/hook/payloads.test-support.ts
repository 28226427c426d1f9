/**
 * What the agents tell their hooks, as they told it: recorded from the real programs, which ran against a
 * stand-in for their model's API. Paths and ids are made up.
 *
 * - Claude Code 2.1.197 and 2.1.332 (npm: @anthropic-ai/claude-code); described in its hooks reference,
 *   code.claude.com/docs/en/hooks.
 * - Codex 0.171.0 (npm: @openai/codex); openai/codex, codex-rs/hooks/src/schema.rs and schema/generated/.
 * - opencode 1.18.33 (npm: opencode-ai); anomalyco/opencode, packages/plugin/src/index.ts, `Hooks`.
 */
import type { Agent } from './hook.ts';

type Json = { [member: string]: unknown };

export interface Told {
  /** Tool and arguments, in the agent's own words. */
  tool: string;
  input: Json;
  id: string;
  /** The agent's session. */
  session?: string;
}

const claudeCode = {
  session_id: 'a2491e27-59f8-4e6f-ad74-5d64656098e5',
  transcript_path: '/var/agent/.claude/projects/-workspace/a2491e27-59f8-4e6f-ad74-5d64656098e5.jsonl',
  cwd: '/workspace',
  prompt_id: '3ebe40d9-00d9-4d08-8e29-d1ba6c8442ee',
  permission_mode: 'default',
};
const codex = {
  session_id: '01a217b3-2211-7f13-b9fb-3f5c43a13bc8',
  turn_id: '01a217b3-2248-7053-a007-139ae470ed0e',
  transcript_path: '/var/agent/.codex/sessions/2026/11/26/rollout-2026-11-26T11-52-25.jsonl',
  cwd: '/workspace',
  model: 'gpt-5.5',
  permission_mode: 'default',
};
const opencodeSession = 'ses_de84c2b6effegzgu3vRUJi9psn';

const ofSession = (session: string | undefined) => (session === undefined ? {} : { session_id: session });
const ofSettings = (agent: 'claude-code' | 'codex', event: string, { tool, input, id, session }: Told): Json => ({
  ...(agent === 'codex' ? codex : { ...claudeCode, effort: { level: 'high' } }),
  ...ofSession(session),
  hook_event_name: event,
  tool_name: tool,
  tool_input: input,
  tool_use_id: id,
});
const ofPlugin = ({ tool, id, session = opencodeSession }: Told): Json => ({ tool, sessionID: session, callID: id });

export const before = (agent: Agent, told: Told): Json =>
  agent === 'opencode'
    ? { hook: 'tool.execute.before', input: ofPlugin(told), output: { args: told.input } }
    : ofSettings(agent, 'PreToolUse', told);

/** @param text what the tool printed */
export function after(agent: Agent, told: Told, text: string): Json {
  switch (agent) {
    case 'claude-code':
      return {
        ...ofSettings(agent, 'PostToolUse', told),
        tool_response: { stdout: text, stderr: '', interrupted: false, isImage: false, noOutputExpected: false },
        duration_ms: 50,
      };
    case 'codex':
      return { ...ofSettings(agent, 'PostToolUse', told), tool_response: text };
    case 'opencode':
      return {
        hook: 'tool.execute.after',
        input: { ...ofPlugin(told), args: told.input },
        output: { title: 'echo', metadata: { output: text, exit: 0, truncated: false }, output: text },
      };
  }
}

/** A tool that failed. Codex tells nobody, except of MCP tools in some versions. */
export function failedAfter(agent: Agent, told: Told): Json {
  switch (agent) {
    case 'claude-code':
      return {
        ...ofSettings(agent, 'PostToolUseFailure', told),
        error: "Exit code 2\nls: cannot access '/nonexistent': No such file or directory",
        is_interrupt: false,
        duration_ms: 11,
      };
    case 'codex':
      return {
        ...ofSettings(agent, 'PostToolUse', told),
        tool_response: { isError: true, content: [{ type: 'text', text: 'it failed' }] },
      };
    case 'opencode':
      return {
        hook: 'tool.execute.after',
        input: { ...ofPlugin(told), args: told.input },
        output: { error: 'File not found: /nonexistent' },
      };
  }
}

export function prompt(agent: Agent, text: string): Json {
  switch (agent) {
    case 'claude-code':
      return { ...claudeCode, hook_event_name: 'UserPromptSubmit', prompt: text };
    case 'codex':
      return { ...codex, hook_event_name: 'UserPromptSubmit', prompt: text };
    case 'opencode':
      return {
        hook: 'chat.message',
        input: { sessionID: opencodeSession },
        output: {
          message: { id: 'msg_217b3d517001fvaUguP6AQRM2O', role: 'user', sessionID: opencodeSession, agent: 'build' },
          parts: [
            { type: 'text', text, id: 'prt_217b3d524001GK9ht2B4CCCgr3', sessionID: opencodeSession },
            { type: 'text', text: 'Called the Read tool with /workspace/a.txt', synthetic: true },
          ],
        },
      };
  }
}

/** Claude Code submits what a background task brought back as if the person had said it. */
export const taskNotification = (result: string): Json =>
  prompt(
    'claude-code',
    `<task-notification>\n<task-id>a71527752aeb879b7</task-id>\n<status>completed</status>\n<result>${result}</result>\n</task-notification>`,
  );

/** Codex submits what the model wrote for its sub-agent as if the person had said it. */
export const subAgentPrompt = (text: string): Json => ({
  ...prompt('codex', text),
  agent_id: '01a217b4-8d75-7a83-a3ea-e0f96f4f76ef',
  agent_type: 'default',
});

export const sessionStart = (agent: 'claude-code' | 'codex'): Json => ({
  ...(agent === 'codex' ? codex : claudeCode),
  hook_event_name: 'SessionStart',
  source: 'startup',
});

export const stop = (agent: 'claude-code' | 'codex'): Json => ({
  ...(agent === 'codex' ? codex : claudeCode),
  hook_event_name: 'Stop',
  stop_hook_active: false,
  last_assistant_message: 'Done.',
});
