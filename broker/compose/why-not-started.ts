/** Why a broker did not start, for whoever started it: what is wrong, and what to do. */
import { ConfigurationError } from '../config/settings.ts';

/**
 * @param env with `WRIT_LOG_LEVEL=debug` (or trace) the stack is there too
 * @returns one line; of a configuration one more for each fault
 */
export function whyNotStarted(error: unknown, env: { readonly [name: string]: string | undefined }): string {
  if (error instanceof ConfigurationError) return error.message;
  if (/^(debug|trace)$/.test(env.WRIT_LOG_LEVEL ?? '') && error instanceof Error) return `${error.stack}`;
  return `The broker did not start: ${inWords(error)}`;
}

function inWords(error: unknown): string {
  const { code, syscall, message, port, address } = error as NodeJS.ErrnoException & {
    port?: number;
    address?: string;
  };
  if (syscall === 'listen' || syscall === 'bind' || syscall === 'getaddrinfo') {
    if (code === 'EADDRINUSE')
      return `port ${port} of ${address} is taken. Stop what listens there, or set PORT to another (PORT=0 takes a free one).`;
    if (code === 'EACCES') return `this user may not open port ${port}. Set PORT to one above 1023.`;
    if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND')
      return 'this machine does not have the address that WRIT_LISTEN names. Set it to 127.0.0.1, or to one it has.';
  }
  // A stack says more to whoever mends the broker; WRIT_LOG_LEVEL=debug shows it.
  return `${message || code || String(error)}`.split('\n')[0]!;
}
