/**
 * One event of a coding agent: asks the process that holds the session, and answers the agent. A hook is a
 * process for each tool call, so what is loaded here is little.
 */
import { systemClock } from '../clock.ts';
import { type CallDecision, explain, isAllowed } from '../decision.ts';
import { WritError } from '../errors.ts';
import { connectSession, type LocalSession } from '../local/connect.ts';
import { plainText } from '../text.ts';
import { untilDecided } from '../wait.ts';
import { type CallIds, callIds } from './call-ids.ts';
import { BadPayload, type Dialect, type HookAnswer, type HookEvent, type HookReply, refused } from './event.ts';
import { opencode } from './opencode.ts';
import { outputText } from './output-text.ts';
import { claudeCode, codex } from './settings-hooks.ts';

export const dialects = { 'claude-code': claudeCode, codex, opencode } satisfies { [agent: string]: Dialect };
export type Agent = keyof typeof dialects;

export const isAgent = (name: string | undefined): name is Agent => name !== undefined && Object.hasOwn(dialects, name);

export interface HookOptions {
  /** `WRIT_SESSION_SOCKET`. */
  socket: string | undefined;
  /** How long a call may wait for a person. */
  waitSeconds: number;
  /** How long a decision may take. */
  answerSeconds: number;
}

/** Bytes of a call's arguments: the broker takes bodies of 64 kB. */
const maxArgumentBytes = 60_000;

/**
 * Never throws: whatever goes wrong with a call that waits for its answer denies it.
 * @param input what the agent wrote to the hook's standard input
 */
export async function answerHook(agent: Agent, input: Uint8Array, options: HookOptions): Promise<HookReply> {
  const dialect: Dialect = dialects[agent];
  let event: HookEvent;
  try {
    event = dialect.read(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(input)));
  } catch (error) {
    const why = error instanceof BadPayload ? error.message : 'the input is not JSON';
    return refused(`Writ cannot read what ${agent} told its hook (${why}), so a tool call is denied.`);
  }
  try {
    return dialect.reply(event, await answerTo(agent, event, options));
  } catch (error) {
    return dialect.reply(event, failed(event, error));
  }
}

async function answerTo(agent: Agent, event: HookEvent, options: HookOptions): Promise<HookAnswer> {
  if (event.kind === 'other') return { kind: 'pass' };
  const { socket, answerSeconds } = options;
  if (!socket)
    throw new WritError(
      'no_session',
      'No session is open here: WRIT_SESSION_SOCKET is not set. Start the agent with `writ session open -- COMMAND`',
    );
  const session = await connectSession(socket, { answerSeconds });
  try {
    switch (event.kind) {
      case 'before':
        return await decide(session, event, callIds(socket, agent, event.call), options.waitSeconds);
      case 'after':
        return await report(session, event, callIds(socket, agent, event.call));
      case 'words':
        return await say(session, event.text);
      case 'start':
        return await introduce(session);
    }
  } finally {
    session.close();
  }
}

async function decide(
  session: LocalSession,
  { call }: HookEvent & { kind: 'before' },
  ids: CallIds,
  waitSeconds: number,
): Promise<HookAnswer> {
  const { tool, arguments: args, promptedBy } = call;
  const size = Buffer.byteLength(JSON.stringify(args));
  if (size > maxArgumentBytes)
    return {
      kind: 'deny',
      reason: `The call of ${tool} was denied: its arguments have ${size} bytes, and at most ${maxArgumentBytes} can be decided on. Do it in smaller parts.`,
    };
  const callId = ids.take();
  const ask = () =>
    session.evaluate({ tool, arguments: args, callId, ...(promptedBy === undefined ? {} : { promptedBy }) });
  let decision = await ask();
  if (decision.effect === 'approve') {
    ids.leave(callId);
    if (await personDecided(session, decision, waitSeconds)) {
      if (!ids.claim(callId))
        return { kind: 'deny', reason: `The call of ${tool} was not made: it was asked for twice, and is made once.` };
      decision = await ask();
      if (decision.effect === 'approve') ids.leave(callId);
    }
  }
  if (isAllowed(decision)) return { kind: 'pass' };
  const reason = explain(tool, decision);
  if (decision.effect !== 'approve') {
    ids.forget();
    return { kind: 'deny', reason };
  }
  return {
    kind: 'deny',
    reason: `${reason} Nobody has decided yet. Tell the person; once it is approved, make exactly the same call again.`,
  };
}

/** @returns whether it is decided; false when nobody has within the time */
async function personDecided(session: LocalSession, { approval }: CallDecision, waitSeconds: number): Promise<boolean> {
  if (approval === undefined) return false;
  const { id } = approval;
  const poll = async (wait: number) => ({ seen: await session.approval(id, wait) });
  try {
    await untilDecided(systemClock, poll, { waitSeconds, grantId: id });
    return true;
  } catch (error) {
    if (error instanceof WritError && error.code === 'approval_timeout') return false;
    throw error;
  }
}

async function report(
  session: LocalSession,
  { outcome, output, structured }: HookEvent & { kind: 'after' },
  ids: CallIds,
): Promise<HookAnswer> {
  await session.finish(
    { callId: ids.find() },
    { outcome, output: outputText(output), ...(structured === undefined ? {} : { structured }) },
  );
  ids.forget();
  return { kind: 'pass' };
}

/** Bytes of a person's words that the broker takes at once. */
const maxWordBytes = 24_000;

/** What is beyond the limit is not said, and so not trusted; nor is the word that the limit would cut. */
async function say(session: LocalSession, text: string): Promise<HookAnswer> {
  const bytes = Buffer.from(plainText(text));
  const whole = bytes.length <= maxWordBytes;
  const said = whole ? bytes.toString() : bytes.subarray(0, maxWordBytes).toString().replace(/\S*$/, '');
  if (said.trim() !== '') await session.say(said);
  return { kind: 'pass' };
}

async function introduce(session: LocalSession): Promise<HookAnswer> {
  const names = (await session.tools()).map(({ name }) => name);
  const list = names.length === 0 ? 'No tool may be called' : `These tools may be called: ${names.join(', ')}`;
  return {
    kind: 'context',
    text: `Writ decides on each tool call of this run, by its task and by what was done before. ${list}. A denial says what would pass.`,
  };
}

/** What an event is answered with when it could not be dealt with. */
function failed(event: HookEvent, error: unknown): HookAnswer {
  // What is not a WritError is a fault of ours, and its text may hold anything.
  const why = error instanceof WritError ? error.message.replace(/\.?$/, '.') : 'The hook failed.';
  switch (event.kind) {
    case 'before':
      return { kind: 'deny', reason: `The call of ${event.call.tool} was denied: ${why}` };
    case 'after':
      // With the session gone, whatever comes next is denied anyway.
      return isGone(error)
        ? { kind: 'notice', text: `Writ: ${why} Tool calls are denied.` }
        : { kind: 'halt', reason: `Writ: what ${event.call.tool} returned could not be put on record. ${why}` };
    case 'start':
      return { kind: 'notice', text: `Writ: ${why} Tool calls are denied.` };
    default:
      return { kind: 'notice', text: `Writ: ${why}` };
  }
}

const isGone = (error: unknown): boolean =>
  error instanceof WritError && (error.code === 'no_session' || error.code === 'session_ended');
