/** What `writ doctor` says of a database, and of clocks that differ. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../core/clock.ts';
import { openTestStore, testBackends } from '../store/store.test-support.ts';
import { diagnoseDatabase } from './database.ts';

for (const backend of await testBackends()) {
  test(`${backend}: its role, its clock, and what to do`, async () => {
    const store = await openTestStore(backend);
    try {
      const asked = async (aheadMs: number) =>
        new Map(
          (await diagnoseDatabase(store, () => new Date(systemClock.now().getTime() + aheadMs))).map(
            ({ what, ...rest }) => [what, rest],
          ),
        );
      const lines = await asked(0);
      assert.equal(lines.get('the database takes writes')?.state, 'holds');
      assert.equal(lines.get('its schema is this release’s')?.state, 'holds');
      const clock = 'this machine’s clock agrees with that of the database';
      assert.equal(lines.get(clock)?.state, 'holds');
      const role = lines.get('the broker’s role cannot change history or the schema');
      if (backend === 'pglite') assert.equal(role?.state, 'unknown');
      else {
        // Tests connect as the owner.
        assert.equal(role?.state, 'fails');
        assert.match(role?.found ?? '', /superuser|may change the record/);
        assert.match(role?.fix ?? '', /npx writ database prepare --apply/);
      }
      for (const [aheadMs, words] of [
        [600_000, /^it is \d+\.\d s ahead$/],
        [-600_000, /^it is \d+\.\d s behind$/],
      ] as const) {
        const line = (await asked(aheadMs)).get(clock);
        assert.equal(line?.state, 'fails');
        assert.match(line?.found ?? '', words);
        assert.match(line?.fix ?? '', /NTP/);
      }
    } finally {
      await store.close();
    }
  });
}
