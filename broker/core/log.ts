/**
 * JSON lines on standard output. Redacts known secret members as a last line of defence: nothing that is
 * logged should hold a secret.
 */
import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';

const secretNames = [
  'authorization',
  'cookie',
  'set-cookie',
  'dpop',
  'token',
  'access_token',
  'subject_token',
  'client_assertion',
  'credential',
  'credentials',
  'secret',
  'secret_access_key',
  'session_token',
  'private_key',
  'password',
  'sealed',
  'handle.token',
];
const paths = [
  ...secretNames,
  ...secretNames.map((name) => `*.${name}`),
  ...secretNames.map((name) => `*.*.${name}`),
].map((path) => path.replaceAll(/[\w]+-[\w]+/g, (name) => `["${name}"]`).replaceAll('.["', '["'));

/**
 * Errors are logged as name, code, message and stack, with their causes: never with the members that
 * libraries hang on them (requests, responses, tokens).
 */
function describeError(error: unknown, depth = 0): Record<string, unknown> | string {
  if (!(error instanceof Error)) return typeof error;
  const { code, reason } = error as { code?: unknown; reason?: unknown };
  return {
    type: error.name,
    message: error.message.slice(0, 1000),
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof reason === 'string' ? { reason } : {}),
    ...(depth === 0 ? { stack: error.stack?.split('\n').slice(1, 8).join('\n') } : {}),
    ...(error.cause === undefined || depth > 3 ? {} : { cause: describeError(error.cause, depth + 1) }),
  };
}

export function createLog(level: string, destination?: DestinationStream): Logger {
  const options = {
    level,
    base: { service: 'writ' },
    timestamp: stdTimeFunctions.isoTime,
    redact: { paths, censor: '[redacted]' },
    serializers: { err: (error: unknown) => describeError(error) },
  };
  return pino(options, destination ?? standardOutput());
}

/** Lines that wait for a reader who is slow, in bytes; what comes on top of them is dropped. */
const maxWaiting = 8 * 1024 * 1024;
let dropped = 0;
let failures = 0;

/** Lines of the log that nobody took: the reader was too slow or is gone, or the disk full. */
export const lostLogLines = () => dropped + failures;

let waiting = 0;
const whenTaken = new Set<() => void>();
function nothingWaits(): void {
  waiting = 0;
  for (const taken of whenTaken) taken();
  whenTaken.clear();
}

/** Resolves when everything logged so far has been taken: perhaps never. */
export const logTaken = (): Promise<void> =>
  waiting === 0 ? Promise.resolve() : new Promise((resolve) => whenTaken.add(resolve));

/**
 * Never waits for whoever reads: a pipe that nobody empties, or a full disk, must not hold up what is logged
 * about.
 */
function standardOutput(): DestinationStream {
  const out = pino.destination({ dest: 1, sync: false, maxLength: maxWaiting });
  let gone = false;
  out.on('drop', () => {
    dropped += 1;
    waiting -= 1;
  });
  // Its `flush` waits for nothing.
  out.on('drain', nothingWaits);
  out.on('error', (error: NodeJS.ErrnoException) => {
    // The stream takes no more lines, and says nothing of them.
    if (error.code === 'EPIPE') {
      gone = true;
      dropped += waiting;
      nothingWaits();
    } else failures += 1;
  });
  return {
    write: (line) => {
      if (gone) dropped += 1;
      else {
        waiting += 1;
        out.write(line);
      }
    },
  };
}
