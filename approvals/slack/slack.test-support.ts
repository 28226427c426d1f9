/**
 * A Slack on loopback with a broker's side of it: requests as rows, the outbox delivering to it, and the
 * endpoint that it posts to.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { Registry } from 'prom-client';
import { manualClock } from '../../broker/core/clock.ts';
import type { WritError } from '../../broker/core/errors.ts';
import { createSideChannelMetrics } from '../../broker/core/side-channel.ts';
import type { Plan } from '../../broker/core/vocabulary.ts';
import { describeQuestion } from '../../broker/grants/question.ts';
import { takeOnce } from '../../broker/sessions/take-once.ts';
import { openTestStore } from '../../broker/store/store.test-support.ts';
import { startSlack } from '../../sandbox/slack/start.ts';
import { render } from '../../sandbox/slack/workspace.ts';
import type { ChannelHarness } from '../conformance.ts';
import type { Channel, GrantAbout, PagesDeps } from '../contract.ts';
import { deliverDue, deliveringChannels } from '../outbox.ts';
import { addGrant, addSession, type GrantRow, type SessionRow, start } from '../rows.test-support.ts';
import { slack } from './index.ts';

export const people = [
  { id: 'U0APPROVER', email: 'approver@example.com', name: 'Approver' },
  { id: 'U0SECOND', email: 'second@example.com', name: 'Second' },
  { id: 'U0STARTER', email: 'somebody@example.com', name: 'Somebody' },
  { id: 'U0GUEST', email: 'approver@example.com', name: 'Guest', guest: true },
  { id: 'U0UNSURE', email: 'approver@example.com', name: 'Unsure', emailConfirmed: false },
  { id: 'U0FOREIGN', email: 'approver@example.com', name: 'Foreign', teamId: 'T0OTHER' },
  { id: 'U0GONE', email: 'approver@example.com', name: 'Gone', deleted: true },
];

const rooms = { C0ROOM: 'approvals', C0NEXT: 'approvals-next' };

export async function openSlackHouse(env: Record<string, string> = {}) {
  const clock = manualClock(start);
  const store = await openTestStore();
  const other = await startSlack({ clock, users: people, channels: { ...rooms } });
  const given = {
    SLACK_BOT_TOKEN: other.botToken,
    SLACK_TEAM_ID: other.teamId,
    SLACK_SIGNING_SECRET: other.signingSecret,
    SLACK_API_URL: other.apiUrl,
    WRIT_SLACK_CHANNEL: 'C0ROOM',
    WRIT_SLACK_VERIFIED_EMAILS: '1',
    ...env,
  };
  // Empty = not set, as the broker reads its environment.
  const settings = slack.settings.parse(Object.fromEntries(Object.entries(given).filter(([, value]) => value !== '')));
  const logged: string[] = [];
  const say = (fields: object, message: string) => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const log = { info: say, warn: say, error: say };
  const make = () => slack.create(settings, { clock, log });
  const about: GrantAbout = { owner: 'user:approver@example.com', approvedIn: ['slack'] };
  const approvers = ['user:approver@example.com', 'user:second@example.com', 'team:billing'];
  /** What the provider says that the plan permits. */
  const permission = ['Read objects under customers/42/ in the S3 bucket orders'];
  const refused: WritError[] = [];

  const app = express();
  // As the broker's own: no connection is closed under a request that a busy machine sends late.
  const server = createServer({ keepAliveTimeout: 75_000 }, app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const publicUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const sources = {
    publicUrl,
    describePlan: (plan: Plan) =>
      describeQuestion(plan) ?? {
        summary: permission,
        revocability: { kind: 'eventual' as const, text: 'Writ ends it within seconds.' },
      },
    approversOf: async () => approvers,
    aboutGrant: async () => about,
  };
  const deps: PagesDeps = {
    ...sources,
    store,
    clock,
    log,
    callArguments: async () => null,
    termsOf: async () => null,
    preApprovalSeconds: 0,
    redemptionSeconds: 300,
    editorCoolingSeconds: 86_400,
    requestId: () => 'req_test',
    noteRefusal: async (_req, _res, error) => void refused.push(error),
    once: (key, until) => takeOnce(store, key, until),
    passkeyKey: randomBytes(32),
    challengeKey: randomBytes(32),
    signInIssuer: 'https://login.example',
  };
  const channel = make();
  if (channel.router !== undefined) app.use(channel.router(deps));
  other.pointTo(`${publicUrl}/slack/interactions`);
  const outbox = {
    ...sources,
    store,
    clock,
    log,
    channels: [channel],
    metrics: createSideChannelMetrics(new Registry()),
    random: () => 0.5,
    escalateSeconds: 120,
    reminds: true,
  };
  let count = 0;
  return {
    store,
    clock,
    deps,
    slack: other,
    channel,
    make,
    about,
    approvers,
    permission,
    refused,
    logged,
    /** A request that waits, with its notice. @returns the grant's id */
    ask: async (row: Partial<GrantRow> = {}, session: Partial<SessionRow> = {}) => {
      count += 1;
      const id = `gnt_${count}`;
      await addSession(store, { id: `ses_${count}`, ...session });
      await addGrant(store, { id, sessionId: `ses_${count}`, ...row });
      const notice = { id: `ntc_${count}`, grantId: id, channel: 'slack', kind: 'pending', createdAt: start };
      await store.prisma.approvalNotice.create({ data: { ...notice, dueAt: start } });
      return id;
    },
    /** Delivers what is due. */
    deliver: async (by: Channel = channel) => {
      const [delivering] = deliveringChannels([by]);
      while ((await deliverDue(outbox, delivering!, 20, new AbortController().signal)) > 0);
    },
    /** Messages as people read them now. */
    read: () => other.messages().map(render),
    status: async (id: string) => (await store.prisma.grant.findUniqueOrThrow({ where: { id } })).status,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await other.close();
      await store.close();
    },
  };
}

export async function slackHarness(): Promise<ChannelHarness> {
  const clock = manualClock(new Date('2026-03-04T12:00:00Z'));
  const other = await startSlack({ clock, users: people, channels: { ...rooms } });
  const output: string[] = [];
  const say = (fields: object, message: string) => void output.push(`${message} ${JSON.stringify(fields)}`);
  const settings = slack.settings.parse({
    SLACK_BOT_TOKEN: other.botToken,
    SLACK_TEAM_ID: other.teamId,
    SLACK_SIGNING_SECRET: other.signingSecret,
    SLACK_API_URL: other.apiUrl,
    WRIT_SLACK_CHANNEL: 'C0ROOM',
  });
  const make = () => slack.create(settings, { clock, log: { warn: say, error: say } });
  return {
    channel: make(),
    again: make,
    otherSide: { seen: () => other.messages().map(render), requests: other.requests, fail: other.fail },
    output: () => output.join('\n'),
    close: other.close,
  };
}
