import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { manualClock, systemClock } from '../core/clock.ts';
import { tickMs } from '../core/long-poller.ts';
import { prepareGround, source } from '../running.test-support.ts';

test('stopping: who waits is answered at once, who does nothing is let go, and the mint under way is delivered', async () => {
  const ground = await prepareGround();
  await writeFile(
    join(ground.manifests, 'agent.yaml'),
    `${source}  ask-plain: { description: Ask for it., provider: plain, tasks: [work], tier: 2, max_ttl: 15m }\n`,
  );
  // Time stands still: nothing that ends here ends because its time was over.
  const still = manualClock(systemClock.now());
  const waiting = Promise.withResolvers<void>();
  const clock = {
    now: still.now,
    sleep: (ms: number, signal?: AbortSignal) => {
      if (ms === tickMs) waiting.resolve();
      return still.sleep(ms, signal);
    },
  };
  const broker = await ground.start({}, { clock });
  const { port } = new URL(broker.url);
  const agent = new Agent({ keepAlive: true });
  const answer = Promise.withResolvers<void>();
  try {
    const post = await ground.session(still.now());
    const asked = Promise.withResolvers<void>();
    ground.provider.script.issue = async ({ plan }, mint) => {
      asked.resolve();
      await answer.promise;
      // By the broker's clock, which stands still.
      const end = new Date(still.now().getTime() + plan.ttl_seconds * 1000);
      return { ...mint(), expiresAt: end, providerExpiresAt: end };
    };
    const { id } = (await (await post('/v1/grants', { capability: 'ask-plain' })).json()) as { id: string };
    const polling = post.get(`/v1/grants/${id}?wait=60`);
    await waiting.promise;
    let minted = false;
    const granting = post('/v1/grants', { capability: 'use-plain' }).finally(() => {
      minted = true;
    });
    await asked.promise;

    // A connection kept alive after its answer, one on which nothing was sent, one with half a head, one with
    // half a body.
    const request = get(`${broker.url}/healthz`, { agent });
    const [response] = await once(request, 'response');
    response.resume();
    await once(response, 'end');
    const idle = request.socket!;
    const raw = await Promise.all(
      ['', 'GET /healthz HT', 'POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf'].map(
        async (text) => {
          const socket = connect(Number(port), '127.0.0.1');
          socket.on('error', () => {});
          socket.resume();
          await once(socket, 'connect');
          if (text !== '') socket.write(text);
          return socket;
        },
      ),
    );
    const closed = [idle, ...raw].map(
      (socket) => new Promise<void>((resolve) => socket.once('close', () => resolve())),
    );

    const stopping = broker.stop();
    const polled = await polling;
    assert.deepEqual([polled.status, ((await polled.json()) as { status: string }).status], [200, 'pending']);
    assert.equal(polled.headers.get('connection'), 'close');
    await Promise.all(closed);
    assert.equal(minted, false, 'the mint is still under way');
    answer.resolve();
    const granted = await granting;
    assert.equal(granted.status, 201);
    assert.equal(granted.headers.get('connection'), 'close');
    await granted.text();
    await stopping;
  } finally {
    // Whatever failed above, nothing is left that would keep this process.
    answer.resolve();
    agent.destroy();
    await broker.stop();
    await ground.close();
  }
});
