import assert from 'node:assert/strict';
import { test } from 'node:test';
import { person, vouched } from '../../approvals/rows.test-support.ts';
import { approvalProgress, isMet } from './quorum.ts';

const one = { reviewer: person('one@example.com', { groups: ['billing'] }) };
const other = { reviewer: person('other@example.com', { groups: ['billing'] }) };
const terms = [{ quorum: 1, from: ['team:billing'] }];

test('a run that an app started was started by nobody who is named: two people must approve', () => {
  const machines = [
    vouched('dependabot[bot]', 'github_login'),
    vouched('Deploy-App[Bot]', 'github_login'),
    vouched('project_42_bot_0f1e2d', 'gitlab_login'),
    vouched('group_7_bot1', 'gitlab_login'),
    vouched('runner@acme-prod.iam.gserviceaccount.com'),
    vouched('42-compute@developer.gserviceaccount.com'),
  ];
  for (const started_by of machines)
    for (const asked of [null, terms]) {
      const line = [{ started_by, responsible: null }];
      assert.equal(isMet(approvalProgress(asked, line, [one])), false, started_by.value);
      assert.equal(isMet(approvalProgress(asked, line, [one, other])), true, started_by.value);
      // Somebody answers for it.
      assert.equal(isMet(approvalProgress(asked, [{ started_by, responsible: 'team:ops' }], [one])), true);
    }
  for (const started_by of [vouched('robot@example.com'), vouched('octobot', 'github_login')])
    assert.equal(isMet(approvalProgress(terms, [{ started_by, responsible: null }], [one])), true, started_by.value);
});
