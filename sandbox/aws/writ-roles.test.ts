/** The roles of a deployment trust whom they should, and the two stay apart. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { AssumeRoleWithWebIdentityCommand, STSClient } from '@aws-sdk/client-sts';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { systemClock } from '../../broker/core/clock.ts';
import { startAwsSandbox } from './start.ts';
import { writRoles } from './writ-roles.ts';

const agentRole = 'arn:aws:iam::111122223333:role/writ-orders';
const revokeRole = 'arn:aws:iam::111122223333:role/writ-revoker';

test('an agent’s token opens the agents’ role only, the broker’s own the revoking role only', async () => {
  const { publicKey, privateKey } = await generateKeyPair('ES256');
  const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }] });
  const jwks = createServer((_, response) => response.end(keys));
  await new Promise<void>((resolve) => jwks.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(jwks.address() as AddressInfo).port}`;
  const sandbox = await startAwsSandbox({
    clock: systemClock,
    issuers: { [issuer]: issuer },
    roles: writRoles({ issuer, agentRole, actions: ['s3:*'], revokeRole }),
  });
  const sts = new STSClient({ region: 'us-east-1', endpoint: sandbox.url });
  const assume = async (role: string, sub: string) => {
    const token = new SignJWT({ sub, aud: 'sts.amazonaws.com' }).setProtectedHeader({ alg: 'ES256', kid: 'k' });
    const WebIdentityToken = await token.setIssuer(issuer).setIssuedAt().setExpirationTime('1m').sign(privateKey);
    return sts.send(
      new AssumeRoleWithWebIdentityCommand({ RoleArn: role, RoleSessionName: 'lse_x', WebIdentityToken }),
    );
  };
  assert.ok((await assume(agentRole, 'agent:invoice-bot')).Credentials);
  assert.ok((await assume(revokeRole, 'writ:revoker')).Credentials);
  await assert.rejects(assume(revokeRole, 'agent:invoice-bot'), { name: 'AccessDenied' });
  await assert.rejects(assume(agentRole, 'writ:revoker'), { name: 'AccessDenied' });
  sts.destroy();
  await sandbox.close();
  await new Promise((resolve) => jwks.close(resolve));
});
