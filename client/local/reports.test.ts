import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type CallReport, WritError } from '../index.ts';
import { newReports } from './reports.ts';

const report: CallReport = { outcome: 'response', output: 'Invoice 7' };

/** A broker that answers when it is told to. */
function broker() {
  const asked: { id: string; output: unknown; answer(error?: Error): void }[] = [];
  const send = (id: string, { output }: CallReport) =>
    new Promise<void>((resolve, reject) => {
      asked.push({ id, output, answer: (error) => (error === undefined ? resolve() : reject(error)) });
    });
  return { asked, send };
}

/** Whether a promise has settled by the time that everything under way has been carried on. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  const note = () => {
    settled = true;
  };
  promise.then(note, note);
  await new Promise(setImmediate);
  return settled;
}

describe('reports on their way', () => {
  it('are waited for by what is decided next', async () => {
    const { asked, send } = broker();
    const reports = newReports(send);
    reports.take('act_1', report);
    reports.take('act_2', report);
    const next = reports.delivered();
    asked[1]!.answer();
    assert.equal(await isSettled(next), false);
    asked[0]!.answer();
    await next;
    assert.equal(asked.length, 2);
    await reports.delivered();
  });

  it('stop every decision until the broker has taken them', async () => {
    const { asked, send } = broker();
    const reports = newReports(send);
    reports.take('act_1', report);
    const first = reports.delivered();
    asked[0]!.answer(new WritError('broker_unreachable', 'nobody answers'));
    await isSettled(first);
    asked[1]!.answer(new WritError('broker_unreachable', 'nobody answers'));
    await assert.rejects(first, (error: WritError) => error.code === 'broker_unreachable');
    const second = reports.delivered();
    await isSettled(second);
    asked[2]!.answer();
    await second;
    await reports.delivered();
    assert.equal(asked.length, 3);
  });

  it('are replaced by a report that the broker understands', async () => {
    const { asked, send } = broker();
    const reports = newReports(send);
    reports.take('act_1', { ...report, labels: ['no such label'] });
    asked[0]!.answer(new WritError('bad_request', 'no such label'));
    assert.equal(await isSettled(reports.ended()), true);
    reports.take('act_1', { outcome: 'response', output: 'the second' });
    asked[1]!.answer();
    await reports.delivered();
    assert.deepEqual(
      asked.map(({ output }) => output),
      ['Invoice 7', 'the second'],
    );
  });

  for (const code of ['conflict', 'not_found', 'session_ended'])
    it(`stop nothing where the call is closed (${code})`, async () => {
      const { asked, send } = broker();
      const reports = newReports(send);
      reports.take('act_1', report);
      asked[0]!.answer(new WritError(code, 'another outcome is on record'));
      await reports.delivered();
      assert.equal(asked.length, 1);
    });
});
