/** GitHub's answers: JSON bodies with the texts its API really sends. */
import type { Json } from '../../broker/core/vocabulary.ts';

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: Json | Buffer;
}

export function problem(status: number, message: string, headers?: Record<string, string>): Answer {
  const body = { message, documentation_url: 'https://docs.github.com/rest', status: String(status) };
  return headers === undefined ? { status, body } : { status, body, headers };
}

export const badCredentials = () => problem(401, 'Bad credentials');
export const notFound = () => problem(404, 'Not Found');
export const notAccessible = () => problem(403, 'Resource not accessible by integration');
export const suspended = () => problem(403, 'This installation has been suspended');
