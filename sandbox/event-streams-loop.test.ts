/** One Writ signals, another takes it: what the one says of its agents ends what they have at the other. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Broker } from '../broker/compose/start.ts';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { identityTokens } from '../broker/keys/identity-token.ts';
import { deriveKey } from '../broker/keys/key-encryption-key.ts';
import { openKeyRing } from '../broker/keys/ring.ts';
import { createSeal } from '../broker/keys/seal.ts';
import { type Ground, prepareGround } from '../broker/running.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import { type Deployment, startDeployment } from './deployment.test-support.ts';

const pushToken = 'what-one-writ-pushes-with';
const agent = 'scripted-agent';

describe('one Writ signals to another', () => {
  let ground: Ground;
  let second: Deployment;
  let first: Broker;
  before(async () => {
    ground = await prepareGround();
    second = await startDeployment({
      // Runs of the first one's agents are known by the tokens that it signs.
      trust: (source) =>
        source
          .replace(
            'bindings:',
            `  - { name: first, issuer: "${ground.url}", audience: "https://second.example", jwks_uri: "${ground.url}/.well-known/jwks.json", algorithms: [RS256] }\nbindings:`,
          )
          .concat(`  - { issuer: first, agent: invoice-bot, claims: { sub: ${agent} } }\n`),
      env: { WRIT_SIGNALS_ISSUER: ground.url, WRIT_SIGNALS_PUSH_TOKEN: pushToken },
    });
    first = await ground.start(
      {
        WRIT_STREAMS: 'second',
        WRIT_STREAM_SECOND_AUDIENCE: second.broker.url,
        WRIT_STREAM_SECOND_PUSH_URL: `${second.broker.url}/v1/signals`,
        WRIT_STREAM_SECOND_PUSH_TOKEN: pushToken,
        WRIT_STREAM_SECOND_EVENTS: 'account-disabled,account-enabled',
      },
      { clock: second.clock },
    );
  });
  after(async () => {
    await first.stop();
    await second.close();
    await ground.close();
  });

  test('an agent that is locked at the one has its runs ended at the other', async () => {
    const seal = createSeal(deriveKey(Buffer.from(ground.env.WRIT_KEY_ENCRYPTION_KEY, 'base64url'), 'at-rest'));
    const ring = await openKeyRing(first.store, { clock: second.clock, seal, longestTokenSeconds: 300 });
    const sign = identityTokens(ring, second.clock, ground.url, 'RS256');
    const subjectToken = await sign({ sub: agent, aud: 'https://second.example' }, 300);
    const itsRun = await second.openAgent({ subjectToken });
    const another = await second.openAgent();
    // What ends in the ordinary way is not signalled here: its stream does not want it.
    await (await ground.session(second.clock.now()))('/v1/session/end');
    const locked = await fetch(`${ground.url}/v1/locks`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${first.bootstrapToken}` },
      body: JSON.stringify({ level: 'agent', subject: agent, reason: 'hush' }),
    });
    assert.equal(locked.status, 200);
    const stateOf = async (run: typeof itsRun) => {
      const { session } = (await run.call('GET', '/v1/session')).body;
      return session.end_reason ?? session.status;
    };
    await until('the run to end', async () => {
      second.clock.advance(200);
      return (await stateOf(itsRun)) === 'person_signed_off';
    });
    assert.equal(await stateOf(another), 'active');
    const received = await second.broker.store.prisma.auditEvent.findMany({ where: { type: 'signal.received' } });
    assert.deepEqual(
      received.map(({ payload }) => [(payload as JsonObject).event, (payload as JsonObject).subject]),
      [
        [
          'https://schemas.openid.net/secevent/risc/event-type/account-disabled',
          [{ kind: 'subject', value: agent, issuer: ground.url }],
        ],
      ],
    );
  });
});
