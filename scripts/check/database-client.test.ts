import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientFaults } from './database-client.ts';

test('a client that another schema gave is refused, file by file', () => {
  const fresh = new Map([
    ['client.ts', 'a'],
    ['models/Lease.ts', 'b'],
  ]);
  assert.deepEqual(clientFaults(fresh, fresh), []);
  const own = new Map([
    ['client.ts', 'a, of yesterday'],
    ['models/Gone.ts', 'c'],
  ]);
  const fault = (path: string) =>
    `broker/store/prisma/${path} is not what prisma/schema.prisma gives; run npm run generate`;
  assert.deepEqual(clientFaults(own, fresh), ['client.ts', 'models/Gone.ts', 'models/Lease.ts'].map(fault));
});
