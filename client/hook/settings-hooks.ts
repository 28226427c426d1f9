/**
 * The hooks of Claude Code and of Codex: commands in their settings, which read one JSON object and answer
 * with another. Codex took the form over, with differences that matter; each is a `Variant`.
 *
 * Sources: Claude Code's hooks reference (code.claude.com/docs/en/hooks); Codex's documentation
 * (developers.openai.com/codex/hooks) and source (openai/codex, codex-rs/hooks/src/schema.rs,
 * events/pre_tool_use.rs, engine/output_parser.rs).
 */
import {
  BadPayload,
  type Dialect,
  type HookAnswer,
  type HookEvent,
  type HookReply,
  type Members,
  membersOf,
  passed,
  refused,
  textOf,
  told,
} from './event.ts';

interface Variant {
  /** The member with the id of what the person asked for. */
  turn: string;
  /** Events that need no answer of ours. */
  harmless: ReadonlySet<string>;
}

const common = [
  'SessionEnd',
  'Stop',
  'SubagentStart',
  'SubagentStop',
  'PreCompact',
  'PostCompact',
  // The agent asks its person. That person's yes does not lift a denial, so there is nothing to add.
  'PermissionRequest',
];

export const claudeCode = dialectOf({
  turn: 'prompt_id',
  harmless: new Set([...common, 'Notification', 'PermissionDenied', 'StopFailure']),
});
export const codex = dialectOf({ turn: 'turn_id', harmless: new Set([...common, 'StopFailure', 'Interrupt']) });

function dialectOf(variant: Variant): Dialect {
  return {
    read: (payload) => {
      const given = membersOf(payload, 'the input');
      const name = textOf(given, 'hook_event_name');
      if (name === 'PreToolUse') return { kind: 'before', call: callIn(given, variant) };
      if (name === 'PostToolUse') return { kind: 'after', call: callIn(given, variant), ...resultIn(given) };
      if (name === 'PostToolUseFailure')
        return { kind: 'after', call: callIn(given, variant), outcome: 'error', output: given.error };
      if (name === 'UserPromptSubmit') return wordsIn(given);
      if (name === 'SessionStart') return { kind: 'start' };
      if (variant.harmless.has(name)) return { kind: 'other' };
      // A later version may hold something up with it.
      throw new BadPayload(`${name.slice(0, 64)} is no event that this version knows`);
    },
    reply,
  };
}

function callIn(given: Members, { turn }: Variant) {
  const prompt = given[turn];
  return {
    tool: textOf(given, 'tool_name'),
    arguments: membersOf(given.tool_input, 'tool_input'),
    ids: [textOf(given, 'session_id'), textOf(given, 'tool_use_id')],
    ...(typeof prompt === 'string' && prompt !== '' ? { promptedBy: prompt } : {}),
  };
}

/** Of MCP tools, the result is the protocol's own, or its `content` alone. */
function resultIn({ tool_response: output }: Members): {
  outcome: 'response' | 'error';
  output: unknown;
  structured?: unknown;
} {
  const { isError, structuredContent } = (typeof output === 'object' && output !== null ? output : {}) as Members;
  return {
    outcome: isError === true ? 'error' : 'response',
    output,
    ...(structuredContent === undefined ? {} : { structured: structuredContent }),
  };
}

/**
 * Prompts are not only the person's: Codex submits what a model wrote for its sub-agent (with that one's
 * `agent_id`), Claude Code what a background task brought back (`<task-notification>`). Such a text said to
 * be the person's would make every value in it trusted.
 */
function wordsIn(given: Members): HookEvent {
  const text = given.prompt;
  if (typeof text !== 'string') throw new BadPayload('prompt is no text');
  const another = given.agent_id !== undefined || /^\s*</.test(text) || /^\s*<[a-z]+(?:-[a-z]+)+[\s>]/m.test(text);
  return another ? { kind: 'other' } : { kind: 'words', text };
}

/** The event's name in answers that are about it. */
const eventNames = { before: 'PreToolUse', start: 'SessionStart' } as const;

function reply(event: HookEvent, answer: HookAnswer): HookReply {
  switch (answer.kind) {
    case 'pass':
      // Not `permissionDecision: "allow"`: that would switch the agent's own questions off.
      return passed;
    case 'deny':
      if (event.kind !== 'before') return refused(answer.reason);
      return json({
        hookSpecificOutput: {
          hookEventName: eventNames.before,
          permissionDecision: 'deny',
          permissionDecisionReason: answer.reason,
        },
      });
    case 'halt':
      return json({ continue: false, stopReason: answer.reason });
    case 'context':
      return json({ hookSpecificOutput: { hookEventName: eventNames.start, additionalContext: answer.text } });
    case 'notice':
      return event.kind === 'other' ? told(answer.text) : json({ systemMessage: answer.text });
  }
}

const json = (value: object): HookReply => ({ exitCode: 0, stdout: `${JSON.stringify(value)}\n`, stderr: '' });
