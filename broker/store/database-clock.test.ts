import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../core/clock.ts';
import { databaseClock } from './database-clock.ts';
import { bothBackends, openTestStore } from './store.test-support.ts';

for (const backend of await bothBackends())
  test(`the database tells its time as a moment, on ${backend}: the machine’s own, as both run on one`, async () => {
    const store = await openTestStore(backend);
    try {
      const before = systemClock.now().getTime();
      const told = (await databaseClock(store)).getTime();
      const after = systemClock.now().getTime();
      assert.ok(told >= before - 1_000 && told <= after + 1_000, `${before} ${told} ${after}`);
    } finally {
      await store.close();
    }
  });
