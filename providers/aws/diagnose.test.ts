/** What `writ doctor` says of a role that works in part: which part, and what to do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AwsBenchOptions, type AwsHarness, agentRole, withBench } from './harness.test-support.ts';

const found = (options: AwsBenchOptions, prepare: (harness: AwsHarness) => void = () => {}) =>
  new Promise<Map<string, { state: string; found?: string; fix?: string }>>((resolve, reject) => {
    withBench(async (harness) => {
      prepare(harness);
      const findings = await harness.provider.diagnose!([], AbortSignal.timeout(20_000));
      resolve(new Map(findings.map(({ what, ...rest }) => [what.replace(agentRole, 'ROLE'), rest])));
    }, options).catch(reject);
  });

test('a role that trusts the broker and lets it tag or name no session', async () => {
  const actions = {
    'sts:TagSession': 'WRIT_AWS_SESSION_TAGS=off',
    'sts:SetSourceIdentity': 'WRIT_AWS_REVOKE_KEY=userid',
  };
  const all = Object.keys(actions) as (keyof typeof actions)[];
  const env = { WRIT_AWS_SESSION_TAGS: 'on', WRIT_AWS_REVOKE_KEY: 'source_identity' };
  for (const lacking of all) {
    const lines = await found({ env, trusted: all.filter((action) => action !== lacking) });
    assert.equal(lines.get('the role ROLE trusts this broker')?.state, 'holds', lacking);
    for (const action of all) {
      const line = lines.get(`the role ROLE allows ${action}`);
      assert.equal(line?.state, action === lacking ? 'fails' : 'holds', `${lacking}: ${action}`);
      if (action !== lacking) continue;
      assert.equal(line?.fix, `Add ${action} to the actions of the role’s trust policy, or set ${actions[action]}.`);
      assert.match(line?.found ?? '', /AccessDenied|not authorized/i);
    }
  }
});

test('a role whose maximum is shorter than the broker would ask for', async () => {
  const env = { WRIT_AWS_MAX_TTL_SECONDS: '7200' };
  const what = 'the role ROLE gives sessions of WRIT_AWS_MAX_TTL_SECONDS=7200';
  for (const [maxSessionSeconds, state] of [
    [3600, 'fails'],
    [7200, 'holds'],
  ] as const) {
    const line = (await found({ env }, ({ sandbox }) => sandbox.setRole(agentRole, { maxSessionSeconds }))).get(what);
    assert.equal(line?.state, state, String(maxSessionSeconds));
    if (state === 'holds') continue;
    assert.match(line?.found ?? '', /maximum/i);
    assert.match(line?.fix ?? '', /^Raise the role’s maximum session duration, or lower WRIT_AWS_MAX_TTL_SECONDS/);
  }
});
