/** The suite passes a good channel, and each of its checks refuses one that breaks it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BoardFlaws, boardHarness } from './board.test-support.ts';
import { channelChecks, channelConformance } from './conformance.ts';

channelConformance('board', () => boardHarness());

let count = 0;
const newKey = () => {
  count += 1;
  return String(count);
};

const broken: { [title: string]: BoardFlaws } = {
  'people read who asks for what, and are led to the page': { escape: (text) => text.slice(0, 5) },
  'people read what happened in a session, and are led to its page': { silent: true },
  'people read what was decided in their name, and are led to its page': { silent: true },
  'the same notice is seen once, also when another process delivers it again': { key: newKey },
  'a notice whose answer was lost is seen once': { key: newKey },
  'who was told reads how it ended, with what was asked': { forgetsOutcome: true },
  'who was told is reminded by a message of its own, once, and reads there too how it ended': { forgetsReminder: true },
  'notices with different ids are different messages, whatever they say': { key: (notice) => notice.grantId },
  'it ends as soon as its signal aborts': { ignoresAbort: true },
  'it asks nothing when its signal has aborted already': { ignoresAbort: true },
  'a refusal and an outage are told apart, and both pass': { saysAllIsWell: true },
  'what the agent wrote is text, and is shown as the agent’s': { escape: (text) => text },
  'no field of a notice is markup, a link or a mention, whoever wrote it': { escape: (text) => text },
  'nothing of a notice’s text is logged': { logs: true },
};

test('every check refuses a channel that breaks it', async (t) => {
  assert.deepEqual(Object.keys(broken).sort(), Object.keys(channelChecks).sort());
  for (const [title, flaws] of Object.entries(broken)) {
    await t.test(title, async () => {
      const check = channelChecks[title];
      assert.ok(check !== undefined);
      await assert.rejects(check(await boardHarness(flaws)), assert.AssertionError);
    });
  }
});
