/** A capability that a coordinator may hand to a sub-agent, and not use itself. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Agent, type Deployment, startDeployment } from './deployment.test-support.ts';

let deployment: Deployment;
before(async () => {
  deployment = await startDeployment();
  const example = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
  const source = example.replace('  read-customer-files:\n', '  read-customer-files:\n    delegate_only: true\n');
  const published = await deployment.publish('invoice-bot', source);
  assert.equal(published.status, 200, published.text);
});
after(() => deployment.close());

const childOf = async (parent: Agent, capabilities: string[]): Promise<Agent> => {
  const opened = await deployment.tokenRequest({
    subjectToken: parent.token,
    form: { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
    task: { capabilities },
  });
  assert.equal(opened.status, 200, opened.text);
  return deployment.agentOf(opened.body);
};
const asked = async (agent: Agent, capability = 'read-customer-files') => {
  const reply = await agent.grant({ capability });
  return [reply.status, reply.body.reasons?.[0]?.code];
};

test('the coordinator is refused, its sub-agent is not, and what else it has is its own', async () => {
  const coordinator = await deployment.openAgent();
  assert.deepEqual(await asked(coordinator), [403, 'delegate_only']);
  assert.deepEqual(await asked(coordinator, 'read-policy-repository'), [201, undefined]);
  assert.deepEqual(await asked(await childOf(coordinator, ['read-customer-files'])), [201, undefined]);
});

test('a sub-agent that was not given it is refused, and hands it to nobody', async () => {
  const coordinator = await deployment.openAgent();
  const other = await childOf(coordinator, ['read-policy-repository']);
  assert.deepEqual(await asked(other), [403, 'outside_session']);
  const grandchild = await deployment.tokenRequest({
    subjectToken: other.token,
    form: { subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' },
    task: { capabilities: ['read-customer-files'] },
  });
  assert.ok(grandchild.status >= 400 && grandchild.status < 500, grandchild.text);
});
