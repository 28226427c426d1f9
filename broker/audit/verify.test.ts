import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Store } from '../store/open.ts';
import { openTestStore } from '../store/store.test-support.ts';
import { verifyAudit } from './verify.ts';

let store: Store;
const run = (text: string) => store.run({ name: `t${text}`, text }, []);
const tamper = async (text: string) => {
  await run('ALTER TABLE audit_event DISABLE TRIGGER USER');
  await run(text);
  await run('ALTER TABLE audit_event ENABLE TRIGGER USER');
};

before(async () => {
  store = await openTestStore();
  await run(`INSERT INTO audit_event (chain, at, type, actor, grant_id, payload)
    SELECT chain, '2026-01-01T00:00:00.007Z', 'test.' || n, 'tester', CASE WHEN n = 2 THEN 'gnt_x' END, '{"b":1,  "a":"ü\\u0041"}'::json
    FROM unnest(ARRAY['alpha', 'beta', 'gamma']) chain, generate_series(1, 4) n ORDER BY chain, n`);
});
after(() => store.close());

test('an untouched log holds, whatever the page size', async () => {
  for (const size of [1, 3, 5, 1000])
    assert.deepEqual(await verifyAudit(store, size), { chains: 3, rows: 12, broken: null });
});

test('a changed payload, actor or time names its row', async () => {
  for (const [set, back] of [
    [`payload = '{"b":2}'`, `payload = '{"b":1,  "a":"ü\\u0041"}'`],
    [`actor = 'intruder'`, `actor = 'tester'`],
    [`at = at + interval '1 second'`, `at = at - interval '1 second'`],
  ]) {
    await tamper(`UPDATE audit_event SET ${set} WHERE chain = 'beta' AND seq = 3`);
    assert.deepEqual((await verifyAudit(store)).broken, { chain: 'beta', seq: 3, what: 'row was changed' });
    await tamper(`UPDATE audit_event SET ${back} WHERE chain = 'beta' AND seq = 3`);
  }
  assert.equal((await verifyAudit(store)).broken, null);
});

test('a changed row whose own hash was recomputed breaks the next link', async () => {
  await tamper(`UPDATE audit_event SET actor = 'intruder',
    hash = writ_audit_hash(prev_hash, chain, seq, at, type, 'intruder', grant_id, lease_id, request_id, payload) WHERE chain = 'alpha' AND seq = 2`);
  assert.deepEqual((await verifyAudit(store)).broken, {
    chain: 'alpha',
    seq: 3,
    what: 'link to the row before is broken',
  });
  await tamper(`UPDATE audit_event SET actor = 'tester',
    hash = writ_audit_hash(prev_hash, chain, seq, at, type, 'tester', grant_id, lease_id, request_id, payload) WHERE chain = 'alpha' AND seq = 2`);
});

test('a missing row, a cut tail and a wiped chain are named', async () => {
  await tamper(`CREATE TABLE kept AS SELECT * FROM audit_event`);
  for (const [cut, broken] of [
    [`chain = 'beta' AND seq = 2`, { chain: 'beta', seq: 2, what: 'row is missing' }],
    [`chain = 'beta' AND seq = 1`, { chain: 'beta', seq: 1, what: 'row is missing' }],
    [`chain = 'beta' AND seq = 4`, { chain: 'beta', seq: 4, what: 'tail was cut off' }],
    [`chain = 'gamma'`, { chain: 'gamma', seq: 1, what: 'tail was cut off' }],
  ] as const) {
    await tamper(`DELETE FROM audit_event WHERE ${cut}`);
    assert.deepEqual((await verifyAudit(store, 2)).broken, broken);
    await tamper('INSERT INTO audit_event SELECT * FROM kept ON CONFLICT DO NOTHING');
  }
  assert.equal((await verifyAudit(store)).broken, null);
});
