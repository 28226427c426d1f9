import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ClaimedNotice, noticeOf } from './notices.ts';
import { after, plan, start } from './rows.test-support.ts';

test('those are named whom the manifest asks; without groups, the owners', async () => {
  const sources = {
    publicUrl: 'https://writ.example',
    describePlan: () => ({ summary: [], revocability: { kind: 'expiry' as const, text: '' } }),
    approversOf: async () => ['team:billing'],
    aboutGrant: async () => ({ owner: 'team:billing' }),
  };
  const row = {
    id: 'ntc_1',
    grant_id: 'gnt_1',
    kind: 'pending',
    attempts: 1,
    agent: 'invoice-bot',
    capability: 'read-customer-files',
    manifest_version: 1,
    plan,
    plan_digest: 'sha256:0',
    requested_at: start,
    decide_by: after(300),
    justification: null,
    tier: 2,
    task_type: 'pay-invoice',
    inputs: {},
    status: 'pending',
    decided_at: null,
    ended_at: null,
    decision: {},
    reviews: [],
    earlier: [],
  } as unknown as ClaimedNotice;
  assert.deepEqual((await noticeOf(sources, row, 'slack')).approvers, ['team:billing']);
  const approval = [
    { quorum: 2, from: ['team:sre', 'team:security'] },
    { quorum: 1, from: ['team:sre'] },
  ];
  const asked = await noticeOf(sources, { ...row, decision: { approval } }, 'slack');
  assert.deepEqual(asked.approvers, ['team:sre', 'team:security']);
});
