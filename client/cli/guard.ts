/** `writ guard`: an MCP server behind the session's decisions; `writ guard pins`: what its tools are. */
import { randomBytes } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { ServerOptions, Upstream } from '../guard/guarded-server.ts';
import { listenForClients } from '../guard/listen.ts';
import {
  acceptHeld,
  openPins,
  type PinFile,
  pinFileOf,
  pinFolder,
  readPins,
  stateFolder,
  writePins,
} from '../guard/pins.ts';
import { writePrivateFile } from '../guard/private-file.ts';
import { runGuard } from '../guard/run.ts';
import { connectSession } from '../local/connect.ts';
import { type Environment, identityVariables, openFromEnvironment } from '../local/from-environment.ts';
import { socketVariable } from '../local/hold.ts';
import { type HostSession, hostSessionOf } from '../local/host-session.ts';
import { CommandError } from './broker-side.ts';
import { commandIn, type OpeningValues, openingOf, openingOptions } from './session.ts';

const tell = (line: string) => process.stderr.write(`writ guard: ${line}\n`);

/**
 * @param args what follows `writ guard`
 * @returns 0 when the client hung up; 1 when the server did
 */
export async function guardServer(args: readonly string[], env: Environment): Promise<number> {
  const { own, command } = commandIn(args);
  const { values } = parseArgs({
    args: own,
    options: {
      ...openingOptions,
      url: { type: 'string' },
      header: { type: 'string', multiple: true, default: [] as string[] },
      name: { type: 'string', default: 'mcp' },
      prefix: { type: 'string', default: '' },
      label: { type: 'string', multiple: true, default: [] as string[] },
      pins: { type: 'string' },
      'pinned-only': { type: 'boolean', default: false },
      'pass-resources': { type: 'boolean', default: false },
      timeout: { type: 'string', default: '300' },
      wait: { type: 'string', default: '900' },
      'max-result': { type: 'string', default: '4194304' },
      listen: { type: 'string' },
      'token-file': { type: 'string' },
      'no-token': { type: 'boolean', default: false },
    },
  });
  const upstream = upstreamOf(values.url, command, values.header, env);
  const door = doorOf(values, env);
  const server = 'url' in upstream ? [upstream.url] : upstream.command;
  if (!/^[\w.-]{1,64}$/.test(values.name)) throw new CommandError('--name must be letters, digits and any of _ . -');
  const pinFile = values.pins ?? pinFileOf(pinFolder(env), server);
  const pins = await openPins(pinFile, { server: server.join(' '), only: values['pinned-only'], tell });
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const { session, leave } = await sessionFor(env, values);
  try {
    const server: ServerOptions = {
      upstream,
      session,
      pins,
      tell,
      serverName: values.name,
      prefix: values.prefix,
      passResources: values['pass-resources'],
      labels: values.label,
      callSeconds: positive('timeout', values.timeout),
      waitSeconds: positive('wait', values.wait),
      maxResultBytes: positive('max-result', values['max-result']),
    };
    if (door !== null) {
      await listen(server, door, stop.signal);
      return 0;
    }
    const { stdin, stdout } = process;
    const byClient = await runGuard({ ...server, stdin, stdout, stop: stop.signal });
    return byClient ? 0 : 1;
  } finally {
    await leave();
  }
}

/** Where clients come in over HTTP, and the file of the token that they show; null = none is asked for. */
interface Door {
  host: string;
  port: number;
  tokenFile: ((port: number) => string) | null;
}

interface DoorValues {
  listen?: string | undefined;
  'token-file'?: string | undefined;
  'no-token': boolean;
  name: string;
}

/** @returns null: the client that started us is the one */
function doorOf(values: DoorValues, env: Environment): Door | null {
  const { listen: at, 'token-file': file, 'no-token': open, name } = values;
  if (at === undefined) {
    if (file !== undefined || open) throw new CommandError('--token-file and --no-token are for --listen');
    return null;
  }
  if (file !== undefined && open) throw new CommandError('Give --token-file or --no-token, not both');
  const [, host, port] = /^(?:(127\.0\.0\.1|localhost|\[::1\]):)?(\d{1,5})$/.exec(at) ?? [];
  if (port === undefined || Number(port) > 65_535)
    throw new CommandError('--listen must be a port of this machine: 127.0.0.1:PORT, [::1]:PORT or PORT');
  const usual = (number: number) => join(stateFolder(env), 'guard', `${name}-${number}.token`);
  return {
    host: host === '[::1]' ? '::1' : '127.0.0.1',
    port: Number(port),
    tokenFile: open ? null : file === undefined ? usual : () => file,
  };
}

/** Until it is told to stop; the token ends with it. */
async function listen(server: ServerOptions, { host, port, tokenFile }: Door, stop: AbortSignal): Promise<void> {
  const token = tokenFile === null ? null : randomBytes(32).toString('base64url');
  let written: string | null = null;
  const listening = async (url: string) => {
    if (token === null) return void tell(`listens at ${url}, for everybody on this machine`);
    const path = tokenFile!(Number(new URL(url).port));
    await writePrivateFile(path, `${token}\n`);
    written = path;
    tell(`listens at ${url}; clients send Authorization: Bearer and what is in ${path}`);
  };
  try {
    await listenForClients({ ...server, host, port, token, listening, stop });
  } finally {
    if (written !== null) await rm(written, { force: true });
  }
}

function upstreamOf(
  url: string | undefined,
  command: string[],
  headers: readonly string[],
  env: Environment,
): Upstream {
  const [program, ...rest] = command;
  if ((url === undefined) === (program === undefined))
    throw new CommandError('Give the server as a command after --, or its address with --url');
  if (url !== undefined) return { url, headers: Object.fromEntries(headers.map((one) => headerFrom(one, env))) };
  // A server is somebody else's program: it gets neither the session nor what could open one.
  const withheld = new Set<string>([...identityVariables, socketVariable]);
  const given = Object.entries(env).filter(
    (one): one is [string, string] => one[1] !== undefined && !withheld.has(one[0]),
  );
  return { command: [program!, ...rest], env: Object.fromEntries(given) };
}

/** NAME=VARIABLE: what is in the variable is on no command line. */
function headerFrom(given: string, env: Environment): [string, string] {
  const [, name, variable] = /^([A-Za-z0-9-]{1,64})=([A-Za-z_][A-Za-z0-9_]*)$/.exec(given) ?? [];
  if (name === undefined || variable === undefined)
    throw new CommandError(`--header ${given}: must be NAME=VARIABLE, the environment variable that holds its value`);
  const value = env[variable];
  if (!value) throw new CommandError(`--header ${name}: the environment variable ${variable} is not set`);
  return [name, value];
}

function positive(name: string, text: string): number {
  if (!/^[1-9][0-9]{0,8}$/.test(text)) throw new CommandError(`--${name} must be a whole number`);
  return Number(text);
}

/** The session that the environment names, or one of this guard's own, which ends with it. */
async function sessionFor(
  env: Environment,
  opening: OpeningValues,
): Promise<{ session: HostSession; leave(): Promise<void> }> {
  const path = env[socketVariable];
  if (path) {
    const session = await connectSession(path);
    return { session, leave: async () => session.close() };
  }
  const session = await openFromEnvironment(env, openingOf(opening));
  const host = hostSessionOf(session);
  return {
    session: host,
    leave: async () => {
      if (!session.signal.aborted) await host.end().catch((error: Error) => tell(error.message));
    },
  };
}

/**
 * `writ guard pins [list]`: what is pinned and what is held back; `writ guard pins accept NAME … | --all`.
 * @returns 1 when there was nothing to agree to
 */
export async function guardPins(args: readonly string[], env: Environment): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { pins: { type: 'string' }, all: { type: 'boolean', default: false } },
  });
  const [verb = 'list', ...names] = positionals;
  if (
    !(verb === 'list' && names.length === 0 && !values.all) &&
    !(verb === 'accept' && names.length > 0 !== values.all)
  )
    throw new CommandError('writ guard pins [list], or writ guard pins accept NAME … or --all; --pins FILE');
  const files = values.pins === undefined ? await pinFiles(env) : [values.pins];
  let found = 0;
  for (const path of files) {
    const file = await readPins(path);
    if (file === null) throw new CommandError(`${path} is not there`);
    if (verb === 'list') {
      show(path, file);
      found += 1;
      continue;
    }
    const { file: next, accepted } = acceptHeld(file, values.all ? null : names);
    if (accepted.length === 0) continue;
    await writePins(path, next);
    found += accepted.length;
    for (const name of accepted) console.log(`✔ ${plain(file.server)}: ${plain(name)} is what it is now`);
  }
  if (found === 0) console.log(verb === 'list' ? 'nothing is pinned yet' : 'nothing of that name is held back');
  return verb === 'accept' && found === 0 ? 1 : 0;
}

async function pinFiles(env: Environment): Promise<string[]> {
  const folder = pinFolder(env);
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => name.endsWith('.json')).map((name) => join(folder, name));
}

function show(path: string, { server, pinned, held }: PinFile): void {
  console.log(`${plain(server)} (${path})`);
  for (const [name, { description }] of Object.entries(pinned)) {
    const now = Object.hasOwn(held, name) ? held[name] : undefined;
    console.log(`  ${now === undefined ? '✔' : '✘'} ${plain(name)}: ${plain(description)}`);
    if (now !== undefined) console.log(`    held back, now: ${plain(now.description)}`);
  }
  for (const [name, { description }] of Object.entries(held))
    if (!Object.hasOwn(pinned, name)) console.log(`  ✘ ${plain(name)}, held back: ${plain(description)}`);
}

/** A server wrote it: nothing in it moves the cursor or hides what follows. */
const plain = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '·').slice(0, 500);
