/**
 * What agents share at the clouds, the whole way: an agent that asks as often as it can costs its neighbour
 * nothing, and every credential that was minted can be denied by name.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { until } from '../broker/until.test-support.ts';
import { type Agent, type Deployment, type Reply, startDeployment } from './deployment.test-support.ts';
import { agentRole } from './world.ts';

const neighbourBinding = `  - issuer: sandbox-ci
    agent: statement-bot
    started_by_claim: actor
    started_by_kind: email
    claims: { repository_id: "4712" }
`;

let deployment: Deployment;
before(async () => {
  deployment = await startDeployment({
    poolSize: 6,
    env: { WRIT_AWS_REVOKE_LAG_SECONDS: '0', WRIT_GCP_REVOKE_LAG_SECONDS: '0' },
    trust: (source) => source + neighbourBinding,
  });
  const source = await readFile(join(import.meta.dirname, 'example/manifests/invoice-bot.yaml'), 'utf8');
  const published = await deployment.publish(
    'statement-bot',
    source.replace('agent: invoice-bot', 'agent: statement-bot'),
  );
  assert.equal(published.status, 200, published.text);
});
after(() => deployment.close());

const openNeighbour = async () =>
  deployment.openAgent({ subjectToken: await deployment.world.subjectToken({ repository_id: '4712' }) });

/** Asks until it is refused. */
async function askForAll(agent: Agent, capability: string): Promise<{ issued: number; refusal: Reply }> {
  for (let issued = 0; ; issued += 1) {
    const reply = await agent.grant({ capability });
    if (reply.status !== 201) return { issued, refusal: reply };
  }
}

test('a role’s document: refused before minting when one more denial would not fit; nobody is cut off', async () => {
  const { aws } = deployment.world;
  // An admin's own policy leaves room for 21 denials.
  const statement = { Effect: 'Deny', Action: 's3:DeleteBucket', Resource: `arn:aws:s3:::${'x'.repeat(9_100)}` };
  aws.setInlinePolicy(agentRole, 'admins-own', JSON.stringify({ Version: '2012-10-17', Statement: [statement] }));
  const neighbour = await openNeighbour();
  const theirs = await neighbour.grant({ capability: 'read-customer-files' });
  assert.equal(theirs.status, 201, theirs.text);
  const greedy = await deployment.openAgent();
  const minted = aws.sessions().length;
  const { issued, refusal } = await askForAll(greedy, 'read-customer-files');
  assert.deepEqual(
    [refusal.status, refusal.body.code, refusal.body.provider_code],
    [503, 'provider_unavailable', 'share_taken'],
  );
  assert.ok(Number(refusal.headers.get('retry-after')) > 0);
  assert.equal(aws.sessions().length, minted + issued, 'what was refused was not minted');
  assert.equal(issued, 10);

  // Sessions that end and come again give nothing back before their credentials have ended.
  const end = await greedy.call('POST', '/v1/session/end');
  assert.equal(end.status, 200, end.text);
  const again = await deployment.openAgent();
  assert.equal((await askForAll(again, 'read-customer-files')).issued, 0);
  const leases = deployment.broker.store.prisma.lease;
  await until('all of them are denied', async () => {
    deployment.clock.advance(1000);
    return (await leases.count({ where: { agent: 'invoice-bot', status: 'revoked' } })) === issued;
  });
  for (const { evidence } of await leases.findMany({ where: { status: 'revoked' } }))
    assert.equal((evidence as { overflow?: boolean }).overflow, undefined);
  const session = aws.sessions().find(({ arn }) => arn.endsWith(`/${theirs.body.lease.id}`));
  assert.ok(aws.allows(session?.arn ?? '', 's3:GetObject', 'arn:aws:s3:::orders/customers/42/invoice.txt'));
  assert.equal((await neighbour.grant({ capability: 'read-customer-files' })).status, 201, 'and may have more');
});

test('an approval that finds no room stands, and is redeemed when there is some', async () => {
  deployment.clock.advance(200_000);
  const approver = await deployment.approver();
  const agent = await deployment.openAgent();
  const parked = await agent.grant({ capability: 'correct-customer-invoice' });
  await approver.decide(parked.body.id, { verdict: 'approve' });
  const redeem = () => agent.call('POST', `/v1/grants/${parked.body.id}/redeem`);
  const refusal = await redeem();
  assert.deepEqual([refusal.status, refusal.body.provider_code], [503, 'share_taken'], refusal.text);
  assert.deepEqual([refusal.body.grant_id, refusal.body.grant_status], [parked.body.id, 'approved']);
  assert.ok(Date.parse(String(refusal.body.redeem_by)) > deployment.clock.now().getTime());
  // The role is measured every five minutes.
  deployment.world.aws.setInlinePolicy(agentRole, 'admins-own', null);
  deployment.clock.advance(101_000);
  const issued = await redeem();
  assert.equal(issued.status, 201, issued.text);
});

test('the Google pool: one agent leaves as many accounts as it has', async () => {
  const greedy = await deployment.openAgent();
  const { issued, refusal } = await askForAll(greedy, 'read-statements');
  assert.deepEqual([issued, refusal.body.provider_code], [3, 'share_taken']);
  const neighbour = await openNeighbour();
  assert.equal((await neighbour.grant({ capability: 'read-statements' })).status, 201);
});
