import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { createLog } from '../broker/core/log.ts';
import { readableLog } from './readable-log.ts';

/** The lines that the broker's own log writes. */
function written(write: (log: ReturnType<typeof createLog>) => void): string[] {
  const lines: string[] = [];
  write(createLog('trace', { write: (line: string) => void lines.push(line.trimEnd()) }));
  return lines;
}

test('a line of the log becomes time, level, message and members', () => {
  const [line = ''] = written((log) => log.info({ status: 201, route: '/v1/grants', agent: 'a b' }, 'request'));
  assert.match(
    readableLog(line, false),
    /^\d\d:\d\d:\d\d\.\d{3} info {2}request status=201 route=\/v1\/grants agent="a b"$/,
  );
});

test('every level has its name', () => {
  const lines = written((log) => {
    for (const level of Object.keys(pino.levels.values)) log[level as 'info']('x');
  });
  assert.deepEqual(
    lines.map((line) => readableLog(line, false).split(' ')[1]),
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal'],
  );
});

test('an error keeps its code and message, and its stack stands on lines of its own', () => {
  const error = Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' });
  const [line = ''] = written((log) => log.error({ err: error }, 'revocation failed'));
  const [head = '', ...stack] = readableLog(line, false).split('\n');
  assert.match(head, /error revocation failed err=\{"type":"Error","message":"no answer","code":"ETIMEDOUT"\}$/);
  assert.match(stack.join('\n'), /^ +at /);
});

test('colours are for terminals only', () => {
  const [line = ''] = written((log) => log.warn('careful'));
  assert.ok(readableLog(line, true).includes('\u001b[33mwarn \u001b[0m'));
  assert.ok(!readableLog(line, false).includes('\u001b'));
});

test('what is no line of the log stays as it is', () => {
  for (const line of ['', 'Restarting broker/main.ts', '{"level":', '{"level":"info"}', '[30]', 'null', '30'])
    assert.equal(readableLog(line, true), line);
});
