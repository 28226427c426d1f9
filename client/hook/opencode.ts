/**
 * opencode has no command hooks but plugins. The one that `writ hook install opencode` writes hands over each
 * of its hooks with what opencode gave it, `{hook, input, output}`, and throws what is answered with exit
 * code 2: opencode gives that to the model in place of a result.
 *
 * Source: anomalyco/opencode, packages/plugin/src/index.ts (`Hooks`).
 */
import {
  BadPayload,
  type Dialect,
  type HookedCall,
  type Members,
  membersOf,
  passed,
  refused,
  textOf,
  told,
} from './event.ts';

export const opencode: Dialect = {
  read: (payload) => {
    const given = membersOf(payload, 'the input');
    const hook = textOf(given, 'hook');
    const input = membersOf(given.input, 'input');
    const output = membersOf(given.output, 'output');
    switch (hook) {
      case 'tool.execute.before':
        return { kind: 'before', call: callIn(input, output.args) };
      case 'tool.execute.after':
        return {
          kind: 'after',
          call: callIn(input, input.args),
          // The plugin's own: opencode has no such hook for tools that fail.
          outcome: output.error === undefined ? 'response' : 'error',
          output: output.error ?? output.output ?? output.content,
          ...(output.structuredContent === undefined ? {} : { structured: output.structuredContent }),
        };
      case 'chat.message':
        return { kind: 'words', text: textIn(output.parts) };
      default:
        throw new BadPayload(`${hook.slice(0, 64)} is no hook that this version knows`);
    }
  },
  reply: (_event, answer) => {
    switch (answer.kind) {
      case 'deny':
      case 'halt':
        return refused(answer.reason);
      case 'notice':
        return told(answer.text);
      default:
        return passed;
    }
  },
};

function callIn(input: Members, args: unknown): HookedCall {
  return {
    tool: textOf(input, 'tool'),
    arguments: membersOf(args, 'args'),
    ids: [textOf(input, 'sessionID'), textOf(input, 'callID')],
  };
}

/** What the person typed. What opencode itself put in (files, reminders) is marked `synthetic`. */
function textIn(parts: unknown): string {
  if (!Array.isArray(parts)) throw new BadPayload('parts is no list');
  return parts
    .map((part) => (typeof part === 'object' && part !== null ? part : {}) as Members)
    .filter(({ type, text, synthetic }) => type === 'text' && typeof text === 'string' && synthetic !== true)
    .map(({ text }) => text)
    .join('\n');
}
