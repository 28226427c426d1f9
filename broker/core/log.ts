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

/** Lines of the log that nobody took: the reader was too slow, or the disk full. */
export const lostLogLines = () => dropped + failures;

/**
 * Never waits for whoever reads: a pipe that nobody empties, or a full disk, must not hold up what is logged
 * about.
 */
let flushOutput: () => Promise<void> = async () => {};

/** Resolves when everything logged so far has been taken: perhaps never. */
export const logTaken = () => flushOutput();

function standardOutput(): DestinationStream {
  const out = pino.destination({ dest: 1, sync: false, maxLength: maxWaiting });
  out.on('drop', () => {
    dropped += 1;
  });
  out.on('error', () => {
    failures += 1;
  });
  flushOutput = () => new Promise((resolve) => out.flush(() => resolve()));
  return out;
}
