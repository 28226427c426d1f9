/** Where checkpoints go: a file, the log, a server that takes lines. Each is outside of the database. */
import { open } from 'node:fs/promises';
import type { Logger } from 'pino';
import { AskedToWait } from '../core/retry-after.ts';

/**
 * Takes checkpoints, a JWS each, in their order. What it has taken may come again. @throws Error when it
 * fails; AskedToWait
 */
export type CheckpointSink = (lines: readonly string[], signal: AbortSignal) => Promise<void>;

/** @returns why nothing can be appended there, as the code of the system; null = it can. Makes the file */
export async function fileFault(path: string): Promise<string | null> {
  try {
    await (await open(path, 'a', 0o600)).close();
    return null;
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}

/** Appends, and waits until the disk has it. */
export function fileSink(path: string): CheckpointSink {
  return async (lines) => {
    const file = await open(path, 'a', 0o600);
    try {
      await file.appendFile(lines.map((line) => `${line}\n`).join(''));
      await file.datasync();
    } finally {
      await file.close();
    }
  };
}

/** Whatever the level of the log is: where this is the destination, they must not be left out. */
export function logSink(log: Logger): CheckpointSink {
  const always = log.child({}, { level: 'info' });
  return async (lines) => {
    for (const checkpoint of lines) always.info({ checkpoint }, 'checkpoint of the record');
  };
}

/** One POST of lines. @param token sent as a bearer token */
export function httpSink(url: string, token: string | undefined): CheckpointSink {
  return async (lines, signal) => {
    const answer = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'text/plain; charset=utf-8',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: lines.map((line) => `${line}\n`).join(''),
      // A token follows no redirect.
      redirect: 'error',
      signal,
    });
    await answer.body?.cancel();
    const [after, date] = ['retry-after', 'date'].map((name) => answer.headers.get(name));
    if (!answer.ok) throw AskedToWait.by(`the server for checkpoints answered ${answer.status}`, { after, date });
  };
}
