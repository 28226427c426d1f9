import assert from 'node:assert/strict';
import { test } from 'node:test';
import { channelModules } from '../../approvals/registry.ts';
import { providerModules } from '../../providers/registry.ts';
import { misspeltVariables, unknownVariables } from './unknown-variables.ts';

const modules = [...providerModules, ...channelModules];
const faultsOf = (env: Record<string, string>) => unknownVariables(env, modules);

test('a misspelt variable is a fault that says which was meant; another name is told to go', () => {
  assert.deepEqual(faultsOf({ WRIT_REQUIRE_DPOPS: '1', WRIT_SLACK_CHANEL: 'C1', WRIT_GITHUB_OWNER: 'a', PATH: '/' }), [
    'WRIT_REQUIRE_DPOPS: is no variable of Writ; did you mean WRIT_REQUIRE_DPOP?',
    'WRIT_SLACK_CHANEL: is no variable of Writ; did you mean WRIT_SLACK_CHANNEL?',
    'WRIT_GITHUB_OWNER: is no variable of Writ; did you mean WRIT_GITHUB_OWNERS?',
  ]);
  assert.deepEqual(faultsOf({ WRIT_UNHEARD_OF_THING_ENTIRELY: '1' }), [
    'WRIT_UNHEARD_OF_THING_ENTIRELY: is no variable of Writ; take it out',
  ]);
});

test('the value is not repeated, and an empty one counts as not set', () => {
  assert.doesNotMatch(faultsOf({ WRIT_METRIC_TOKEN: 'a-secret' }).join(), /a-secret/);
  assert.deepEqual(faultsOf({ WRIT_METRIC_TOKEN: '' }), []);
});

test('a misspelt name without our beginning is told, unless the right one is set too', () => {
  const told = (env: Record<string, string>) => misspeltVariables(env, modules);
  assert.deepEqual(told({ SLACK_BOT_TOKN: 'a-secret', GITHUB_APP_IDD: '1', DATABSE_URL: 'postgres://x' }), [
    { variable: 'SLACK_BOT_TOKN', near: 'SLACK_BOT_TOKEN' },
    { variable: 'GITHUB_APP_IDD', near: 'GITHUB_APP_ID' },
    { variable: 'DATABSE_URL', near: 'DATABASE_URL' },
  ]);
  const right = { SLACK_BOT_TOKEN: 'x', GITHUB_APP_ID: '1', DATABASE_URL: 'postgres://x' };
  assert.deepEqual(told({ ...right, SLACK_BOT_TOKENS: 'x', GITHUB_APP_IDD: '1', DATABASE_URI: 'x' }), []);
  assert.deepEqual(told({ GITHUB_TOKEN: 'x', GITHUB_ACTOR_ID: '1', PATH: '/', POST: 'x', SLACK_BOT_TOKN: '' }), []);
});

test('what agents, operators, event streams and Kubernetes set in the same environment is none', () => {
  assert.deepEqual(
    faultsOf({
      WRIT_URL: 'http://127.0.0.1:8420',
      WRIT_RUNTIME_PASSWORD: 'x',
      WRIT_STREAM_SIEM_AUDIENCE: 'x',
      WRIT_SERVICE_HOST: '10.0.0.1',
      WRIT_SERVICE_PORT: '8420',
      WRIT_SERVICE_PORT_HTTP: '8420',
      WRIT_PORT: 'tcp://10.0.0.1:8420',
      WRIT_PORT_8420_TCP: 'tcp://10.0.0.1:8420',
      WRIT_PORT_8420_TCP_ADDR: '10.0.0.1',
      WRIT_API_SERVICE_HOST: '10.0.0.1',
      WRIT_API_PORT: 'tcp://10.0.0.1:8420',
    }),
    [],
  );
  assert.deepEqual(faultsOf({ WRIT_PORT: '8420' }), ['WRIT_PORT: is no variable of Writ; did you mean PORT?']);
});
