/** The examples of docs/authzen.md, in their order, through the door. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Broker } from '../compose/start.ts';
import { type Ground, prepareGround } from '../running.test-support.ts';

const page = await readFile(join(import.meta.dirname, '../../docs/authzen.md'), 'utf8');
const manifest = /```yaml\n(apiVersion[\s\S]*?)```/.exec(page)?.[1] ?? '';
const examples = [...page.matchAll(/```http\nPOST (\S+)\n([\s\S]*?)```\s*```json\n([\s\S]*?)```/g)].map(
  ([, path, body, answer]) => ({ path: path!, body: body!, answer: JSON.parse(answer!) }),
);

/** What was answered holds everything that is documented; `…` stands for any text. */
function assertHolds(actual: unknown, documented: unknown, at: string): void {
  if (typeof documented !== 'object' || documented === null) {
    assert.equal(documented === '…' && typeof actual === 'string' ? '…' : actual, documented, at);
    return;
  }
  assert.ok(typeof actual === 'object' && actual !== null, at);
  if (Array.isArray(documented)) assert.equal((actual as unknown[]).length, documented.length, at);
  for (const [name, value] of Object.entries(documented))
    assertHolds((actual as { [name: string]: unknown })[name], value, `${at}.${name}`);
}

describe('docs/authzen.md', () => {
  let ground: Ground;
  let broker: Broker;
  before(async () => {
    ground = await prepareGround(['support-bot']);
    await writeFile(join(ground.manifests, 'support-bot.yaml'), manifest);
    broker = await ground.start();
  });
  after(async () => {
    await broker.stop();
    await ground.close();
  });

  test('says what is answered', async () => {
    assert.equal(examples.length, 6);
    const task = { task_type: 'answer-ticket', inputs: {} };
    const session = await ground.session(undefined, 'support-bot', task);
    for (const { path, body, answer } of examples) {
      const response = await session(path, body);
      assert.equal(response.status, 200, body);
      assertHolds(await response.json(), answer, path);
    }
  });
});
