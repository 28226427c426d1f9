/** Asking a running broker as an admin: `WRIT_URL` says where it is, `WRIT_ADMIN_TOKEN` who asks. */
import { CommandError } from './broker-side.ts';
import type { Fault } from './manifest-files.ts';

export type Environment = { [name: string]: string | undefined };

/**
 * @param path below the broker's address, with its query
 * @param headers more of them, such as `If-Match`
 * @returns the answer's JSON
 * @throws CommandError in whole sentences, where the broker does not answer or refuses
 */
export async function askAdmin(
  env: Environment,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: { type: string; text: string },
  headers: { [name: string]: string } = {},
): Promise<unknown> {
  const { status, text } = await send(env, method, path, body, headers);
  if (status >= 200 && status < 300) return text === '' ? null : JSON.parse(text);
  throw new CommandError(refusalOf(status, text));
}

/** The same, of what may not be there: null when it is not. */
export async function findAsAdmin(env: Environment, path: string): Promise<unknown> {
  const { status, text } = await send(env, 'GET', path);
  if (status === 404) return null;
  if (status === 200) return JSON.parse(text);
  throw new CommandError(refusalOf(status, text));
}

/**
 * Has the broker read a file.
 * @returns its faults; none when it holds
 */
export async function faultsAtBroker(env: Environment, path: string, text: string): Promise<Fault[]> {
  const answer = await send(env, 'POST', path, { type: 'application/yaml', text });
  if (answer.status === 200) return [];
  const faults = faultsIn(answer.text);
  if (faults.length > 0) return faults;
  throw new CommandError(refusalOf(answer.status, answer.text));
}

function faultsIn(problem: string): Fault[] {
  try {
    return (JSON.parse(problem) as { errors?: Fault[] }).errors ?? [];
  } catch {
    return [];
  }
}

async function send(
  env: Environment,
  method: string,
  path: string,
  body?: { type: string; text: string },
  headers: { [name: string]: string } = {},
): Promise<{ status: number; text: string }> {
  const { WRIT_URL: url, WRIT_ADMIN_TOKEN: token } = env;
  if (!url)
    throw new CommandError('WRIT_URL is not set: it is the address of the broker, such as https://writ.example.com');
  if (!token) throw new CommandError('WRIT_ADMIN_TOKEN is not set: it is the token by which an admin asks the broker');
  if (!URL.canParse(url)) throw new CommandError('WRIT_URL must be the address of the broker');
  const address = new URL(path, url);
  if (address.protocol !== 'https:' && !/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(address.hostname))
    throw new CommandError('WRIT_URL must begin with https://: the token would go over the network in the clear');
  const response = await fetch(address, {
    method,
    headers: {
      ...whoAsks(address, token),
      ...(body === undefined ? {} : { 'content-type': body.type }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: body.text }),
    redirect: 'error',
  }).catch((error: Error) => {
    throw new CommandError(`the broker at ${url} does not answer: ${String(error.cause ?? error.message)}`);
  });
  return { status: response.status, text: await response.text() };
}

/** The bootstrap token, or what the console's cookie holds of a signed-in admin. */
function whoAsks({ protocol }: URL, token: string): { [name: string]: string } {
  if (!/^[\w-]{1,200}$/.test(token)) throw new CommandError('WRIT_ADMIN_TOKEN is not a token of a broker');
  if (token.startsWith('writ_admin_')) return { authorization: `Bearer ${token}` };
  return { cookie: `${protocol === 'https:' ? '__Host-' : ''}writ_login=${token}` };
}

/** A problem document (RFC 9457) in words, each fault on a line of its own. */
function refusalOf(status: number, text: string): string {
  try {
    const { title, detail, errors } = JSON.parse(text) as {
      title?: string;
      detail?: string;
      errors?: { path: string; message: string; line?: number; column?: number }[];
    };
    const faults = (errors ?? []).map(({ path, message, line, column }) => {
      const place = line === undefined ? '' : `${line}:${column ?? 1}: `;
      return `\n  ${place}${path === '' ? '' : `${path}: `}${message}`;
    });
    return `the broker refused: ${detail ?? title ?? status}${faults.join('')}`;
  } catch {
    return `the broker answered ${status}`;
  }
}
