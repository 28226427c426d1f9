import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import express, { type NextFunction, type Request, type Response } from 'express';
import { pageErrors } from './page-errors.ts';

test('a page says what the API would: an outage is one, a large body is one, and nothing of the inside is shown', async () => {
  const outage = Object.assign(new Error('connect ECONNREFUSED 10.1.2.3:5432'), { code: 'ECONNREFUSED' });
  const app = express();
  app.get('/outage', () => {
    throw outage;
  });
  app.get('/bug', () => {
    throw new Error('something of the inside');
  });
  app.post('/form', express.urlencoded({ extended: false, limit: 10 }), () => assert.fail('not reached'));
  const log = { warn: () => {}, error: () => {} };
  app.use((error: unknown, req: Request, res: Response, next: NextFunction) =>
    pageErrors({ log, requestId: () => 'req_x' }, error, req, res, next),
  );
  const server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const down = await fetch(`${url}/outage`);
    assert.deepEqual([down.status, down.headers.get('retry-after')], [503, '5']);
    assert.ok(!(await down.text()).includes('10.1.2.3'));
    const bug = await fetch(`${url}/bug`);
    assert.equal(bug.status, 500);
    assert.ok(!(await bug.text()).includes('inside'));
    const large = await fetch(`${url}/form`, { method: 'POST', body: new URLSearchParams({ reason: 'x'.repeat(50) }) });
    assert.equal(large.status, 413);
    await large.text();
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
