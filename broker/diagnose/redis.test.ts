import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { freePort } from '../../sandbox/free-port.ts';
import { until } from '../until.test-support.ts';
import { diagnoseRedis } from './redis.ts';

const there = spawnSync('redis-server', ['--version']).status === 0;
const look = (url: string) => diagnoseRedis(url, AbortSignal.timeout(5_000));

test('a Redis that is not there is a finding', async () => {
  const [only, ...more] = await look('redis://127.0.0.1:1');
  assert.deepEqual([only?.state, only?.found, more], ['fails', 'ECONNREFUSED', []]);
});

test('a Redis that throws things away is told, and one that wants a password', { skip: !there }, async (t) => {
  for (const policy of ['noeviction', 'allkeys-lru']) {
    await t.test(policy, async () => {
      const port = await freePort();
      const options = ['--port', String(port), '--save', '', '--maxmemory-policy', policy, '--requirepass', 'hidden'];
      const server = spawn('redis-server', options, { stdio: 'ignore' });
      try {
        let findings = await look(`redis://:hidden@127.0.0.1:${port}`);
        await until('it answers', async () => {
          findings = await look(`redis://:hidden@127.0.0.1:${port}`);
          return findings[0]?.state === 'holds';
        });
        assert.deepEqual(
          [findings[1]?.state, findings[1]?.found],
          policy === 'noeviction' ? ['holds', undefined] : ['fails', 'the policy is allkeys-lru'],
        );
        const [refused] = await look(`redis://127.0.0.1:${port}`);
        assert.equal(refused?.state, 'fails');
        const [wrong] = await look(`redis://:not-it@127.0.0.1:${port}`);
        assert.equal(wrong?.state, 'fails');
        assert.ok(!JSON.stringify([refused, wrong, findings]).match(/hidden|not-it/));
      } finally {
        server.kill();
      }
    });
  }
});
