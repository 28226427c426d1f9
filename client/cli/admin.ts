/** Asking a running broker as an admin: `WRIT_URL` says where it is, `WRIT_ADMIN_TOKEN` who asks. */
import { CommandError } from './broker-side.ts';

type Environment = { [name: string]: string | undefined };

/**
 * @param path below the broker's address, with its query
 * @returns the answer's JSON
 * @throws CommandError in whole sentences, where the broker does not answer or refuses
 */
export async function askAdmin(
  env: Environment,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: { type: string; text: string },
): Promise<unknown> {
  const { WRIT_URL: url, WRIT_ADMIN_TOKEN: token } = env;
  if (!url)
    throw new CommandError('WRIT_URL is not set: it is the address of the broker, such as https://writ.example.com');
  if (!token) throw new CommandError('WRIT_ADMIN_TOKEN is not set: it is the token by which an admin asks the broker');
  const response = await fetch(new URL(path, url), {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': body.type }) },
    ...(body === undefined ? {} : { body: body.text }),
  }).catch((error: Error) => {
    throw new CommandError(`the broker at ${url} does not answer: ${String(error.cause ?? error.message)}`);
  });
  const text = await response.text();
  if (response.ok) return text === '' ? null : JSON.parse(text);
  throw new CommandError(refusalOf(response.status, text));
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
