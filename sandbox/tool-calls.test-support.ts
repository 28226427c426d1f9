/**
 * An agent’s host in the tests of this folder: asks for tool calls, and tries the credentials that it holds.
 */
import assert from 'node:assert/strict';
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { until } from '../broker/until.test-support.ts';
import type { Agent, Deployment, Reply } from './deployment.test-support.ts';

export interface CallAnswer {
  decision: boolean;
  context: {
    id: string;
    effect: string;
    reasons: { code: string; policy_id?: string }[];
    approval: { id: string; status: string; url: string };
    withheld: string[];
  };
}

export const codes = ({ context }: CallAnswer): string[] => context.reasons.map(({ code }) => code);

export interface Host {
  /** @param more of the call's context, beside its arguments */
  call(agent: Agent, tool: string, args?: object, more?: object): Promise<CallAnswer>;
  /** Asks for the call, and reports that it was answered. */
  made(agent: Agent, tool: string, args?: object, report?: object): Promise<void>;
  /** A key for the customer's files. */
  keyOf(agent: Agent): Promise<S3Client>;
  /** Whether the key reads the customer's invoice at its target. */
  works(key: S3Client): Promise<boolean>;
  statusOf(agent: Agent): Promise<Reply['body']>;
  /** Until nothing that the agent held is on its way to its end any more. */
  settled(agent: Agent): Promise<void>;
  /** Time passes, and the agent says that it lives. */
  pass(agent: Agent, seconds: number): Promise<void>;
}

export function hostOf(deployment: Deployment, name = 'invoice-bot'): Host {
  const { clock } = deployment;
  const host: Host = {
    call: async (agent, tool, args = {}, more = {}) => {
      const reply = await agent.call('POST', '/access/v1/evaluation', {
        subject: { type: 'agent', id: name },
        action: { name: tool },
        resource: { type: 'tool', id: tool },
        context: { arguments: args, ...more },
      });
      assert.equal(reply.status, 200, reply.text);
      return reply.body as unknown as CallAnswer;
    },
    made: async (agent, tool, args, report = {}) => {
      const { decision, context } = await host.call(agent, tool, args);
      assert.equal(decision, true, JSON.stringify(context.reasons));
      const finished = await agent.call('POST', `/v1/actions/${context.id}/finish`, { outcome: 'response', ...report });
      assert.equal(finished.status, 200, finished.text);
    },
    keyOf: async (agent) => {
      const { status, text, body } = await agent.grant({ capability: 'read-customer-files' });
      assert.equal(status, 201, text);
      const { access_key_id, secret_access_key, session_token } = body.credential;
      return new S3Client({
        region: 'eu-central-1',
        endpoint: deployment.world.aws.url,
        forcePathStyle: true,
        maxAttempts: 1,
        credentials: {
          accessKeyId: access_key_id!,
          secretAccessKey: secret_access_key!,
          sessionToken: session_token!,
        },
      });
    },
    works: (key) =>
      key.send(new GetObjectCommand({ Bucket: 'orders', Key: 'customers/42/invoice.txt' })).then(
        async ({ Body }) => (await Body?.transformToString()) !== undefined,
        ({ name: error }) => {
          assert.equal(error, 'AccessDenied');
          return false;
        },
      ),
    statusOf: async (agent) => (await agent.call('GET', '/v1/session')).body,
    // The workers look on a clock that stands still.
    settled: (agent) =>
      until('leases to settle', async () => {
        clock.advance(1000);
        const { leases } = await host.statusOf(agent);
        return leases.every(({ status }) => status !== 'active' && status !== 'revoking');
      }),
    pass: async (agent, seconds) => {
      for (let left = seconds; left > 0; left -= 60) {
        clock.advance(Math.min(left, 60) * 1000);
        const beat = await agent.call('POST', '/v1/session/heartbeat');
        assert.equal(beat.status, 200, beat.text);
        agent.token = beat.body.access_token;
      }
    },
  };
  return host;
}
