/** Turns the broker's log, JSON lines, into lines for people. */

const levels: { [level: number]: { name: string; colour: number } } = {
  10: { name: 'trace', colour: 90 },
  20: { name: 'debug', colour: 90 },
  30: { name: 'info', colour: 32 },
  40: { name: 'warn', colour: 33 },
  50: { name: 'error', colour: 31 },
  60: { name: 'fatal', colour: 31 },
};

/** Members that are the same in every line of one process, or stand in the head. */
const leftOut = new Set(['level', 'time', 'msg', 'service', 'pid', 'hostname']);

/**
 * Formats one line: time, level, message, then the other members as `name=value`. The stack of an error
 * stands on lines of its own.
 *
 * @param colours whether the reader is a terminal
 * @returns the line unchanged when it is no line of the log
 */
export function readableLog(line: string, colours: boolean): string {
  const entry = logEntry(line);
  if (entry === null) return line;
  const paint = (text: string, colour: number) => (colours ? `\u001b[${colour}m${text}\u001b[0m` : text);
  const { name, colour } = levels[entry.level] ?? { name: String(entry.level), colour: 0 };
  const members = Object.entries(entry)
    .filter(([key]) => !leftOut.has(key))
    .map(([key, value]) => `${paint(`${key}=`, 90)}${readableValue(value)}`);
  const head = [paint(timeOfDay(entry.time), 90), paint(name.padEnd(5), colour), entry.msg ?? '', ...members];
  const stack = stackOf(entry.err);
  return [head.filter((part) => part !== '').join(' '), ...(stack === null ? [] : [stack])].join('\n');
}

interface LogEntry {
  level: number;
  time?: unknown;
  msg?: string;
  err?: unknown;
  [member: string]: unknown;
}

function logEntry(line: string): LogEntry | null {
  try {
    const entry = JSON.parse(line) as LogEntry | null;
    return typeof entry === 'object' && typeof entry?.level === 'number' ? entry : null;
  } catch {
    return null;
  }
}

/** `2026-11-25T23:19:20.123Z` → `23:19:20.123`. */
function timeOfDay(time: unknown): string {
  return /T([\d:.]+)Z$/.exec(String(time))?.[1] ?? '';
}

function readableValue(value: unknown): string {
  if (typeof value === 'string' && /^[^\s"=]+$/.test(value)) return value;
  const withoutStack = stackOf(value) === null ? value : { ...(value as object), stack: undefined };
  return JSON.stringify(withoutStack);
}

function stackOf(error: unknown): string | null {
  const stack = (error as { stack?: unknown } | null | undefined)?.stack;
  return typeof stack === 'string' ? stack : null;
}
