/** Opens a session with what the environment says of the broker and of who the agent is. */
import { readFile } from 'node:fs/promises';
import {
  type ClientKey,
  type Envelope,
  fileToken,
  githubActionsToken,
  type Session,
  type SubjectToken,
  Writ,
  WritError,
} from '../index.ts';

export type Environment = { [name: string]: string | undefined };

/** What is asked for on the command line. */
export interface OpenOptions {
  /** The broker's issuer URL; default `WRIT_URL`. */
  url?: string | undefined;
  /** Default `WRIT_TASK_TYPE`. */
  taskType?: string | undefined;
  inputs?: { [name: string]: string | number | boolean };
  /** `user:…` */
  onBehalfOf?: string | undefined;
  envelope?: Envelope;
}

/**
 * Variables that say who the agent is. A command that a session was opened for does not get them: with them
 * it could open sessions of its own, for any task.
 */
export const identityVariables = [
  'WRIT_SUBJECT_TOKEN_FILE',
  'WRIT_CLIENT_ID',
  'WRIT_CLIENT_KEY_FILE',
  'ACTIONS_ID_TOKEN_REQUEST_URL',
  'ACTIONS_ID_TOKEN_REQUEST_TOKEN',
] as const;

/** @throws WritError `no_identity`, `bad_request` (what is missing), or the broker's codes */
export async function openFromEnvironment(env: Environment, options: OpenOptions): Promise<Session> {
  const { url = env.WRIT_URL, taskType = env.WRIT_TASK_TYPE, inputs, onBehalfOf, envelope } = options;
  if (!url) throw new WritError('bad_request', 'WRIT_URL is not set: it is the broker’s issuer URL');
  if (!taskType) throw new WritError('bad_request', 'No task type: give --task-type, or set WRIT_TASK_TYPE');
  return Writ.openSession({
    url,
    taskType,
    ...(await identityIn(env)),
    ...(inputs === undefined ? {} : { inputs }),
    ...(onBehalfOf === undefined ? {} : { onBehalfOf }),
    ...(envelope === undefined ? {} : { envelope }),
  });
}

/** @throws as `openFromEnvironment` */
export async function resumeFromEnvironment(
  env: Environment,
  url: string | undefined,
  resume: string,
): Promise<Session> {
  const broker = url ?? env.WRIT_URL;
  if (!broker) throw new WritError('bad_request', 'WRIT_URL is not set: it is the broker’s issuer URL');
  return Writ.resumeSession({ url: broker, resume, ...(await identityIn(env)) });
}

/**
 * The one identity that the environment gives: a token that the platform keeps in a file, a client key, or
 * the token that GitHub Actions hands out.
 */
async function identityIn(env: Environment): Promise<{ subjectToken: SubjectToken } | { clientKey: ClientKey }> {
  const { WRIT_SUBJECT_TOKEN_FILE: tokenFile, WRIT_CLIENT_ID: clientId, WRIT_CLIENT_KEY_FILE: keyFile } = env;
  if (tokenFile && (clientId || keyFile))
    throw new WritError('no_identity', 'WRIT_SUBJECT_TOKEN_FILE and WRIT_CLIENT_ID are both set: which one is it?');
  if (tokenFile) return { subjectToken: fileToken(tokenFile) };
  if (clientId || keyFile) {
    if (!clientId || !keyFile)
      throw new WritError('no_identity', 'A client key needs both WRIT_CLIENT_ID and WRIT_CLIENT_KEY_FILE');
    return { clientKey: { clientId, key: await keyIn(keyFile) } };
  }
  if (env.ACTIONS_ID_TOKEN_REQUEST_URL) return { subjectToken: githubActionsToken(env) };
  throw new WritError(
    'no_identity',
    'Nothing says who the agent is: set WRIT_SUBJECT_TOKEN_FILE (a token of the platform), or WRIT_CLIENT_ID and ' +
      'WRIT_CLIENT_KEY_FILE, or give the GitHub job `permissions: { id-token: write }`',
  );
}

/** A private key as PEM or as JWK. */
async function keyIn(path: string): Promise<ClientKey['key']> {
  const text = await readFile(path, 'utf8').catch((cause) => {
    throw new WritError('no_identity', `The key file ${path} cannot be read`, { cause });
  });
  if (!text.trim().startsWith('{')) return text;
  try {
    return JSON.parse(text);
  } catch {
    // The reason may quote the key.
    throw new WritError('no_identity', `The key file ${path} is neither PEM nor JSON`);
  }
}

/**
 * Inputs as they stand on the command line: `name=text`, or `name:=JSON` for a number or a truth value.
 * @throws WritError `bad_request`
 */
export function readInputs(given: readonly string[]): { [name: string]: string | number | boolean } {
  return Object.fromEntries(
    given.map((one) => {
      const [, name, json, value] = /^([^=:]+)(:?)=(.*)$/s.exec(one) ?? [];
      if (name === undefined || value === undefined)
        throw new WritError('bad_request', `--input ${one}: must be name=value, or name:=JSON`);
      return [name, json === '' ? value : scalar(name, value)];
    }),
  );
}

function scalar(name: string, json: string): string | number | boolean {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    value = undefined;
  }
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  throw new WritError('bad_request', `--input ${name}:=…: must be a number, true, false or a text in quotes`);
}
