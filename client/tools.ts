/**
 * Tool calls: asked for before they are made, and reported after. `withWrit` does both around the tools that
 * an agent has, whatever library they are for.
 */
import type { Clock } from './clock.ts';
import { type CallApproval, type CallDecision, explain, isAllowed, readDecision } from './decision.ts';
import { WritDenied } from './errors.ts';
import type { Answer, Call } from './http.ts';
import { plainText } from './text.ts';
import { untilDecided } from './wait.ts';

export interface CallOptions {
  /** The host's own id of the call: the same id and call again is the same call. */
  callId?: string;
  /** What it is expected to cost, in US dollars. */
  costUsd?: number;
  /** What prompted it: a reference or a digest, for the record. */
  promptedBy?: string;
  /**
   * Whether it may be made without asking, by a snapshot, and reported afterwards. Default: as the session
   * was opened. Where the snapshot does not cover it, it is asked for as ever.
   */
  offline?: boolean;
  /** Called when a person must agree to the call; show them its `url`. Not called by `evaluate`. */
  onPending?: (approval: CallApproval) => void;
  /**
   * How long to wait for that person. Default: until the broker decides that silence is a no. `evaluate`
   * does not wait.
   */
  waitSeconds?: number;
  signal?: AbortSignal;
}

export interface CallReport {
  outcome: 'response' | 'error';
  /** What came back: the broker looks at it for values that first appear there, and does not keep it. */
  output?: unknown;
  /** The same as data, where the tool gives it (`structuredContent` of MCP). Not kept either. */
  structured?: unknown;
  /** Labels of what came back, beyond those that the manifest gives the tool. */
  labels?: string[];
  /** What it really cost: budgets count it in place of the estimate. */
  costUsd?: number;
  /** What it turned out to touch, named as the manifest's `entity` names it (`order:42`); at most 16. */
  entities?: string[];
}

/** A call that was allowed. */
export interface AllowedCall {
  /** Of the action on record; of one that was made without asking, the host's own `callId`. */
  readonly id: string;
  /** Says how it came out. A call that is never reported counts as unknown when the session ends. */
  finish(report: CallReport): Promise<void>;
}

export interface CallableTool {
  name: string;
  description: string | null;
}

export type Send = (request: Omit<Call, 'token' | 'key'>) => Promise<Answer>;

/** @throws WritError; a denial is an answer */
export async function evaluateCall(
  send: Send,
  agent: { type: string; id: string },
  tool: string,
  args: { [name: string]: unknown },
  { callId = crypto.randomUUID(), costUsd, promptedBy, signal }: CallOptions,
): Promise<CallDecision> {
  const context = {
    arguments: args,
    call_id: callId,
    ...(costUsd === undefined ? {} : { cost_usd: costUsd }),
    ...(promptedBy === undefined ? {} : { prompted_by: promptedBy }),
  };
  const { body } = await send({
    method: 'POST',
    path: '/access/v1/evaluation',
    json: { subject: agent, action: { name: tool }, resource: { type: 'tool', id: tool }, context },
    // The id of the call makes it one, however often it is sent.
    repeatable: true,
    signal,
  });
  return readDecision(body, callId);
}

/** What a call may have to wait for. */
export interface CallWaiting {
  clock: Clock;
  evaluate(tool: string, args: { [name: string]: unknown }, options: CallOptions): Promise<CallDecision>;
  approval(id: string, options: { waitSeconds: number; signal?: AbortSignal | undefined }): Promise<CallApproval>;
}

/**
 * Asks for a call; where a person must agree to it, waits for them and asks again.
 * @throws WritDenied with what would pass; WritError, `approval_timeout` among them
 */
export async function allowedDecision(
  { clock, evaluate, approval }: CallWaiting,
  tool: string,
  args: { [name: string]: unknown },
  options: CallOptions,
): Promise<CallDecision> {
  const callId = options.callId ?? crypto.randomUUID();
  let decision = await evaluate(tool, args, { ...options, callId });
  if (decision.effect === 'approve' && decision.approval !== undefined) {
    options.onPending?.(decision.approval);
    const { id: grantId } = decision.approval;
    const { waitSeconds, signal } = options;
    const poll = async (wait: number) => ({ seen: await approval(grantId, { waitSeconds: wait, signal }) });
    await untilDecided(clock, poll, { waitSeconds, signal, grantId });
    // Whatever was decided, the broker says what it means now: an approved call may meet another rule.
    decision = await evaluate(tool, args, { ...options, callId });
  }
  if (isAllowed(decision)) return decision;
  throw new WritDenied(decision.reasons, undefined, { message: explain(tool, decision), effect: decision.effect });
}

/** Reports how a call came out. @throws WritError */
export async function finishCall(
  send: Send,
  id: string,
  { outcome, output, structured, labels, costUsd, entities }: CallReport,
): Promise<void> {
  const text = output === undefined ? undefined : textOf(output);
  // Beside a text of the greatest length there is room for as much again, in a body of 64 kB.
  const fits = structured !== undefined && byteLength(JSON.stringify(structured)) <= maxOutputBytes / 2;
  const cut = text?.cut === true || (structured !== undefined && !fits);
  const json = {
    outcome,
    ...(labels === undefined ? {} : { labels }),
    ...(costUsd === undefined ? {} : { cost_usd: costUsd }),
    ...(entities === undefined ? {} : { entities }),
    ...(text === undefined ? {} : { output: text.shown }),
    ...(fits ? { structured } : {}),
    ...(text === undefined && !cut ? {} : { output_truncated: cut }),
  };
  await send({ method: 'POST', path: `/v1/actions/${id}/finish`, json, repeatable: true });
}

const byteLength = (text: string): number => new TextEncoder().encode(text).length;

/** Bytes of an output that fit into a report, whatever must be escaped in it. */
const maxOutputBytes = 24_000;

function textOf(output: unknown): { shown: string; cut: boolean } {
  const whole = typeof output === 'string' ? output : (JSON.stringify(output) ?? String(output));
  const bytes = new TextEncoder().encode(whole);
  const cut = bytes.length > maxOutputBytes;
  const text = new TextDecoder().decode(cut ? bytes.subarray(0, maxOutputBytes) : bytes);
  return { shown: plainText(text), cut };
}

/** What `withWrit` needs of a session. */
export interface CallingSession {
  call(tool: string, args?: { [name: string]: unknown }, options?: CallOptions): Promise<AllowedCall>;
}

export interface WithWritOptions {
  /**
   * What a result says of its call besides: labels, what it cost, what it touched. Where it throws, the call
   * is on record as an error, and its result is not handed on.
   */
  report?: (tool: string, output: unknown) => Pick<CallReport, 'labels' | 'costUsd' | 'entities'>;
}

/**
 * The same tools, of which each call is asked for first and reported after. Takes a record of tools by name:
 * plain functions of one argument object, tools of the Vercel AI SDK (`execute`), of the OpenAI Agents SDK
 * (`invoke(context, json)`), and of LangChain.js (`invoke(input)`). Their types stay what they are.
 *
 * A call that is denied throws `WritDenied`, whose message says what would pass: these libraries hand it to
 * the model. What came back is handed on once the broker has it on record.
 * @example
 * const tools = withWrit({ readFile: tool({ … }), sendMail: tool({ … }) }, session);
 * await generateText({ model, tools, prompt });
 */
export function withWrit<Tools extends { [name: string]: unknown }>(
  tools: Tools,
  session: CallingSession,
  options: WithWritOptions = {},
): Tools {
  const wrapped = Object.entries(tools).map(([name, tool]) => [
    name,
    wrap(nameOf(tool) ?? name, tool, session, options),
  ]);
  return Object.fromEntries(wrapped) as Tools;
}

// biome-ignore lint/suspicious/noExplicitAny: whatever a library's tool takes and gives
type Run = (...given: any[]) => any;

/** A tool that has a name of its own is called by it. */
function nameOf(tool: unknown): string | undefined {
  const name = typeof tool === 'object' && tool !== null ? (tool as { name?: unknown }).name : undefined;
  return typeof name === 'string' ? name : undefined;
}

function wrap(name: string, tool: unknown, session: CallingSession, options: WithWritOptions): unknown {
  const guarded = (args: { [name: string]: unknown }, callId: string | undefined, run: () => unknown) =>
    callAndReport(session, name, args, callId, run, options);
  if (typeof tool === 'function') {
    const run = tool as Run;
    return (...given: unknown[]) => guarded(argumentsOf(given[0]), undefined, () => run(...given));
  }
  if (typeof tool !== 'object' || tool === null) throw new TypeError(`${name} is no tool`);
  const { execute, invoke } = tool as { execute?: Run; invoke?: Run };
  // A proxy keeps what else a tool is: its schema, its prototype, its type.
  if (typeof execute === 'function') {
    const run = (...given: unknown[]) => {
      const { toolCallId } = (given[1] ?? {}) as { toolCallId?: unknown };
      const callId = typeof toolCallId === 'string' ? toolCallId : undefined;
      return guarded(argumentsOf(given[0]), callId, () => execute.apply(tool, given));
    };
    return replacing(tool, 'execute', run);
  }
  if (typeof invoke === 'function') {
    const run = (...given: unknown[]) => {
      const { args, callId } = invoked(given);
      return guarded(args, callId, () => invoke.apply(tool, given));
    };
    return replacing(tool, 'invoke', run);
  }
  throw new TypeError(`${name} has neither execute nor invoke`);
}

const replacing = (tool: object, member: string, run: Run): object =>
  new Proxy(tool, { get: (target, key) => (key === member ? run : Reflect.get(target, key, target)) });

/** OpenAI: `(context, json, details)`. LangChain: `(input)`, or `({ type: 'tool_call', id, args })`. */
function invoked([first, second, third]: unknown[]): { args: { [name: string]: unknown }; callId: string | undefined } {
  if (typeof second === 'string') {
    const { callId } = ((third as { toolCall?: unknown } | undefined)?.toolCall ?? {}) as { callId?: unknown };
    return { args: argumentsOf(parsed(second)), callId: typeof callId === 'string' ? callId : undefined };
  }
  const call = first as { type?: unknown; id?: unknown; args?: unknown } | null;
  if (typeof call === 'object' && call?.type === 'tool_call')
    return { args: argumentsOf(call.args), callId: typeof call.id === 'string' ? call.id : undefined };
  return { args: argumentsOf(first), callId: undefined };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return { input: json };
  }
}

/** What is no record of arguments is one of them, `input`. */
function argumentsOf(given: unknown): { [name: string]: unknown } {
  if (given === undefined) return {};
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return given as { [name: string]: unknown };
  return { input: given };
}

async function callAndReport(
  session: CallingSession,
  name: string,
  args: { [name: string]: unknown },
  callId: string | undefined,
  run: () => unknown,
  { report }: WithWritOptions,
): Promise<unknown> {
  const call = await session.call(name, args, callId === undefined ? {} : { callId });
  let output: unknown;
  let besides: Partial<CallReport>;
  try {
    output = await run();
    besides = report?.(name, output) ?? {};
  } catch (error) {
    await call.finish({ outcome: 'error' });
    throw error;
  }
  await call.finish({ ...besides, outcome: 'response', output });
  return output;
}
