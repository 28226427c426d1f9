/** `writ session open|status|end`: one session for all the tools of a run, held by a process of its own. */
import { parseArgs } from 'node:util';
import type { Session } from '../index.ts';
import { connectSession } from '../local/connect.ts';
import {
  type Environment,
  type OpenOptions,
  openFromEnvironment,
  readInputs,
  resumeFromEnvironment,
} from '../local/from-environment.ts';
import { holdForCommand, holdForParent, socketVariable } from '../local/hold.ts';
import { CommandError } from './broker-side.ts';

/** What opens a session, on any command line that may open one. */
export const openingOptions = {
  broker: { type: 'string' },
  'task-type': { type: 'string' },
  input: { type: 'string', multiple: true, default: [] as string[] },
  'on-behalf-of': { type: 'string' },
  'max-seconds': { type: 'string' },
  'max-grants': { type: 'string' },
} as const;

export interface OpeningValues {
  broker?: string | undefined;
  'task-type'?: string | undefined;
  input: string[];
  'on-behalf-of'?: string | undefined;
  'max-seconds'?: string | undefined;
  'max-grants'?: string | undefined;
}

/** @throws WritError `bad_request`; CommandError */
export function openingOf(values: OpeningValues): OpenOptions {
  const wallTimeSeconds = wholeNumber(values, 'max-seconds');
  const maxGrants = wholeNumber(values, 'max-grants');
  return {
    url: values.broker,
    taskType: values['task-type'],
    inputs: readInputs(values.input),
    onBehalfOf: values['on-behalf-of'],
    envelope: {
      ...(wallTimeSeconds === undefined ? {} : { wallTimeSeconds }),
      ...(maxGrants === undefined ? {} : { maxGrants }),
    },
  };
}

function wholeNumber(values: OpeningValues, name: 'max-seconds' | 'max-grants'): number | undefined {
  const given = values[name];
  if (given === undefined) return undefined;
  if (!/^[1-9][0-9]{0,8}$/.test(given)) throw new CommandError(`--${name} must be a whole number`);
  return Number(given);
}

/** What stands before `--`, and the command after it. */
export function commandIn(args: readonly string[]): { own: string[]; command: string[] } {
  const at = args.indexOf('--');
  return at < 0 ? { own: [...args], command: [] } : { own: args.slice(0, at), command: args.slice(at + 1) };
}

/**
 * @param args what follows `writ session open`
 * @returns the command's exit code; without one, 0 when the session was ended
 */
export async function openSession(args: readonly string[], env: Environment): Promise<number> {
  const { own, command } = commandIn(args);
  const { values } = parseArgs({
    args: own,
    options: { ...openingOptions, 'keep-identity': { type: 'boolean', default: false } },
  });
  const parent = process.ppid;
  const session = await openFromEnvironment(env, openingOf(values));
  return hold(session, command, { env, parent, keepIdentity: values['keep-identity'] });
}

/**
 * `writ session resume HANDLE`: wakes a session that sleeps, and holds it as `open` does.
 * @param args what follows `writ session resume`
 */
export async function resumeSession(args: readonly string[], env: Environment): Promise<number> {
  const { own, command } = commandIn(args);
  const { values, positionals } = parseArgs({
    args: own,
    allowPositionals: true,
    options: { broker: { type: 'string' }, 'keep-identity': { type: 'boolean', default: false } },
  });
  const [handle, ...more] = positionals;
  if (handle === undefined || more.length > 0) throw new CommandError('writ session resume HANDLE [-- COMMAND …]');
  const parent = process.ppid;
  const session = await resumeFromEnvironment(env, values.broker, handle);
  return hold(session, command, { env, parent, keepIdentity: values['keep-identity'] });
}

function hold(
  session: Session,
  [program, ...rest]: readonly string[],
  { env, parent, keepIdentity }: { env: Environment; parent: number; keepIdentity: boolean },
): Promise<number> {
  if (program === undefined)
    return holdForParent(session, (line) => process.stdout.write(`${line}\n`), { env, parent });
  return holdForCommand(session, [program, ...rest], { env, keepIdentity });
}

/** `writ session status`: exit 1 when it has ended. */
export async function showSession(env: Environment): Promise<number> {
  const session = await connectSession(socketIn(env));
  try {
    const { sessionId, expiresAt, ended } = await session.status();
    console.log(
      ended === null ? `${sessionId}, until ${expiresAt.toISOString()}` : `${sessionId} has ended (${ended})`,
    );
    return ended === null ? 0 : 1;
  } finally {
    session.close();
  }
}

/** `writ session end`: everything it held is revoked. */
export async function endSession(env: Environment): Promise<number> {
  const session = await connectSession(socketIn(env));
  try {
    await session.end();
    return 0;
  } finally {
    session.close();
  }
}

function socketIn(env: Environment): string {
  const path = env[socketVariable];
  if (!path) throw new CommandError(`${socketVariable} is not set: no session is open here, see \`writ session open\``);
  return path;
}
