/** What a bucket is asked for; a real one with object lock is in sandbox/radosgw. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { manualClock } from '../core/clock.ts';
import { bucketPlace, bucketSink } from './checkpoint-bucket.ts';
import { checkpointKey, signCheckpoint } from './checkpoint-format.ts';

test('a place is a bucket and what names begin with', () => {
  assert.deepEqual(bucketPlace('s3://record', null), { bucket: 'record', prefix: '', retentionDays: null });
  assert.deepEqual(bucketPlace('s3://record/', 7), { bucket: 'record', prefix: '', retentionDays: 7 });
  assert.equal(bucketPlace('s3://record/a/b/', null).prefix, 'a/b/');
  assert.equal(bucketPlace('s3://record/a//b', null).prefix, 'a/b/');
});

test('each checkpoint is put under its number with its own retention; a refusal is an error', async () => {
  const asked: { path: string; headers: IncomingHttpHeaders }[] = [];
  let status = 200;
  const server = createServer((request, response) => {
    asked.push({ path: `${request.method} ${request.url?.split('?')[0]}`, headers: request.headers });
    request.resume().on('end', () => response.writeHead(status).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const key = checkpointKey(randomBytes(32));
  const line = (number: number) => signCheckpoint({ number, previous: '', at: '', heads: [] }, key);
  const clock = manualClock(new Date('2026-03-01T12:00:00Z'));
  const config = {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    region: 'us-east-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
    maxAttempts: 1,
  };
  try {
    const never = new AbortController().signal;
    const locked = bucketSink(bucketPlace('s3://record/of/writ', 30), clock, config);
    await locked([line(9), line(10)], never);
    assert.match(asked[0]?.path ?? '', /^PUT \/record\/of\/writ\/000000000009-[0-9a-f]{16}\.jws$/);
    assert.match(asked[1]?.path ?? '', /\/000000000010-/);
    assert.equal(asked[0]?.headers['x-amz-object-lock-mode'], 'COMPLIANCE');
    assert.equal(asked[0]?.headers['x-amz-object-lock-retain-until-date'], '2026-03-31T12:00:00Z');
    await bucketSink(bucketPlace('s3://record', null), clock, config)([line(1)], never);
    assert.equal(asked[2]?.headers['x-amz-object-lock-mode'], undefined);
    status = 403;
    await assert.rejects(locked([line(11)], never));
    await assert.rejects(locked([line(11)], AbortSignal.abort()), { name: 'AbortError' });
  } finally {
    server.close();
    server.closeAllConnections();
  }
});
