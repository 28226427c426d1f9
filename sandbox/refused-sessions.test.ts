import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Json } from '../broker/core/vocabulary.ts';
import { type Deployment, startDeployment } from './deployment.test-support.ts';

let deployment: Deployment;
before(async () => {
  deployment = await startDeployment();
});
after(() => deployment.close());

const refused = async (task: { [member: string]: Json }, form: { [name: string]: string } = {}) => {
  const reply = await deployment.tokenRequest({ task, form });
  assert.equal(reply.status, 400, reply.text);
  const last = await deployment.broker.store.prisma.auditEvent.findFirstOrThrow({
    where: { type: 'session.refused' },
    orderBy: { seq: 'desc' },
  });
  return last;
};

test('a session refused to a verified agent is recorded under its name, with the fault', async () => {
  const { actor, payload } = await refused({ inputs: { customer_id: 'forty-two' } });
  assert.equal(actor, 'invoice-bot');
  const { token_sha256, ...told } = payload as { token_sha256: string };
  assert.match(token_sha256, /^[0-9a-f]{64}$/);
  assert.deepEqual(told, {
    code: 'invalid_authorization_details',
    reason: null,
    agent: 'invoice-bot',
    errors: [{ path: 'authorization_details[0].inputs.customer_id', message: 'does not match the pattern' }],
  });
  const narrowed = await refused({}, { scope: 'read-statements read-everything' });
  assert.deepEqual((narrowed.payload as { errors: { path: string }[] }).errors[0]?.path, 'scope');
});

test('a secret in the place of a name or a value is not recorded as it came', async () => {
  const secret = 'xoxb-2389472389-secret-in-the-wrong-place';
  for (const [task, form] of [
    [{ inputs: { customer_id: '42', [secret]: '1' } }],
    [{ inputs: { customer_id: secret } }],
    [{ task_type: secret }],
    [{}, { scope: secret }],
  ] as [{ [member: string]: Json }, { [name: string]: string }?][]) {
    const { actor, payload } = await refused(task, form);
    assert.equal(actor, 'invoice-bot');
    assert.doesNotMatch(JSON.stringify(payload), /wrong-place/);
  }
});

test('whoever was not verified has no name on record', async () => {
  const reply = await deployment.tokenRequest({ subjectToken: 'not-a-token' });
  assert.equal(reply.status, 400);
  const { actor, payload } = await deployment.broker.store.prisma.auditEvent.findFirstOrThrow({
    where: { type: 'session.refused' },
    orderBy: { seq: 'desc' },
  });
  assert.equal(actor, 'unknown');
  assert.ok(!('agent' in (payload as object)) && !('errors' in (payload as object)));
});
