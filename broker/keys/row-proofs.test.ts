import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ProvenRows } from '../core/proven-rows.ts';
import { type BrokenProof, createRowProofs } from './row-proofs.ts';

const broken: BrokenProof[] = [];
const proofs = createRowProofs(Buffer.alloc(32, 1), (one) => broken.push(one));
const review: ProvenRows['review'] = {
  id: 'rev_1',
  grant_id: 'gnt_1',
  reviewer: { issuer: 'https://id.example', groups: ['a', 'b'] },
  verdict: 'approve',
  plan_digest: 'sha256:1',
  consented_digest: 'sha256:1',
  reason: null,
  channel: 'web',
  at: new Date('2026-03-01T12:00:00.000Z'),
  redeem_by: new Date('2026-03-01T12:05:00.000Z'),
};
const proof = proofs.make('review', review);

test('a row holds in whatever order its columns, and the members of its objects, come', () => {
  const other = Object.fromEntries(Object.entries(review).toReversed()) as unknown as ProvenRows['review'];
  assert.ok(
    proofs.holds('review', { ...other, reviewer: { groups: ['a', 'b'], issuer: 'https://id.example' } }, proof),
  );
});

test('a change of any column, of its type, or of what is in an object breaks it, and says which row', () => {
  for (const change of [
    { id: 'rev_2' },
    { verdict: 'deny' },
    { reason: 'null' },
    { reason: '' },
    { reviewer: { issuer: 'https://id.example', groups: ['b', 'a'] } },
    { reviewer: { issuer: 'https://id.example', groups: ['a', 'b'], more: 1 } },
    { at: new Date('2026-03-01T12:00:00.001Z') },
    { redeem_by: null },
  ]) {
    broken.length = 0;
    const row = { ...review, ...change } as ProvenRows['review'];
    assert.equal(proofs.holds('review', row, proof), false, JSON.stringify(change));
    assert.deepEqual(broken, [{ table: 'review', row: row.id, what: 'wrong' }]);
  }
  assert.equal(proofs.holds('review', review, ''), false);
  assert.equal(broken.at(-1)?.what, 'missing');
});

test('a time beyond any calendar does not pass for none', () => {
  const denied = { ...review, verdict: 'deny', redeem_by: null };
  const made = proofs.make('review', denied);
  assert.ok(proofs.holds('review', denied, made));
  // What drivers make of `infinity`, and of years that no Date has.
  for (const redeem_by of [Number.POSITIVE_INFINITY, new Date(Number.NaN)])
    assert.equal(proofs.holds('review', { ...denied, redeem_by: redeem_by as Date }, made), false);
});

test('no value passes for another column, and no proof for another table or key', () => {
  // What `channel` says here would be the line of `consented_digest` as well.
  const line = 'web"\nconsented_digest:"sha256:1';
  const { consented_digest: _, ...rest } = review;
  const less = { ...rest, channel: line } as unknown as ProvenRows['review'];
  assert.equal(proofs.holds('review', less, proof), false);
  const bootstrap = { id: 1, token_hash: 'x', created_at: review.at };
  assert.equal(proofs.holds('bootstrap', bootstrap, proof), false);
  assert.equal(createRowProofs(Buffer.alloc(32, 2)).holds('review', review, proof), false);
});
