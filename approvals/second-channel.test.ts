/**
 * A second channel in a whole broker, put in by a line of the registry alone: told of what waits, also when
 * the process dies in between.
 */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import express from 'express';
import { systemClock } from '../broker/core/clock.ts';
import { prepareGround, source } from '../broker/running.test-support.ts';
import { createTestDatabase, layMigrated, testBackends } from '../broker/store/store.test-support.ts';
import { until } from '../broker/until.test-support.ts';
import { startSlack } from '../sandbox/slack/start.ts';
import { render } from '../sandbox/slack/workspace.ts';
import { type Board, boardChannel, boardModule, openBoard } from './board.test-support.ts';
import type { ChannelModule } from './contract.ts';
import { channelModules } from './registry.ts';

const askPlain = '  ask-plain: { description: Ask for it., provider: plain, tasks: [work], tier: 2, max_ttl: 15m }\n';
const switchedOn = { WRIT_BOARD_BOARD: 'https://board.example' };

async function prepare(backend: 'pglite' | 'postgres') {
  const ground = await prepareGround();
  await writeFile(join(ground.manifests, 'agent.yaml'), source + askPlain);
  const database = backend === 'postgres' ? await createTestDatabase() : null;
  const data = join(ground.folder, 'data');
  // Migrated already: doing it anew takes longer than the test.
  if (database === null) await layMigrated(join(data, 'database'));
  const env: Record<string, string> = database === null ? { WRIT_DATA_DIR: data } : { DATABASE_URL: database.url };
  const close = async () => {
    await ground.close();
    await database?.drop();
  };
  return { ground, env, close };
}

const withBoard = (board: Board): readonly ChannelModule[] => [
  ...channelModules,
  boardModule('board', boardChannel('board', board)),
];

for (const backend of await testBackends()) {
  test(`${backend}: one line in the registry, and people are told once`, async () => {
    const { ground, env, close } = await prepare(backend);
    const board = openBoard();
    const broker = await ground.start({ ...env, ...switchedOn }, { channels: withBoard(board) });
    try {
      const post = await ground.session();
      const answer = await post('/v1/grants', { capability: 'ask-plain' });
      assert.equal(answer.status, 202);
      const { id, approval_url } = (await answer.json()) as { id: string; approval_url: string };
      await until('the board has it', () => board.seen().length === 1);
      assert.deepEqual(board.seen()[0]?.links, [approval_url]);
      assert.equal(approval_url, `${ground.url}/approvals/${id}`);
      // The web's pages are mounted beside it.
      assert.equal((await fetch(`${ground.url}/approvals`, { redirect: 'manual' })).status, 303);
      const delivered = () => broker.store.prisma.approvalNotice.count({ where: { deliveredAt: { not: null } } });
      await until('it is on the record', async () => (await delivered()) === 1);
      assert.equal(board.keys.length, 1);
    } finally {
      await broker.stop();
      await close();
    }
  });

  for (const dieAt of ['commit', 'delivery']) {
    test(`${backend}: a broker that is killed at the ${dieAt} leaves a notice that the next one delivers`, async () => {
      const { ground, env, close } = await prepare(backend);
      const board = openBoard();
      try {
        const given = { ...process.env, ...ground.env, ...env, ...switchedOn, DIE_AT: dieAt };
        const child = fork(join(import.meta.dirname, 'killed-broker.test-support.ts'), { env: given, silent: true });
        const ended = once(child, 'exit');
        assert.deepEqual(await Promise.race([once(child, 'message'), ended]), ['up', undefined]);
        const post = await ground.session();
        await post('/v1/grants', { capability: 'ask-plain' }).catch(() => {});
        assert.deepEqual(await ended, [null, 'SIGKILL']);

        // As if the claim of the dead had been waited out.
        const clock = { ...systemClock, now: () => new Date(systemClock.now().getTime() + 31_000) };
        const broker = await ground.start({ ...env, ...switchedOn }, { channels: withBoard(board), clock });
        try {
          await until('the board has it', () => board.seen().length === 1);
          const rows = await broker.store.prisma.approvalNotice.findMany({
            where: { kind: 'pending' },
            include: { grant: true },
          });
          assert.deepEqual(
            rows.map(({ id, grant }) => [id, grant?.status]),
            [[board.keys[0], 'pending']],
          );
        } finally {
          await broker.stop();
        }
      } finally {
        await close();
      }
    });
  }
}

test('a channel that is not switched on is not there; a half-configured one stops the start', async () => {
  const { ground, env, close } = await prepare('pglite');
  const board = openBoard();
  try {
    await assert.rejects(
      ground.start({ ...env, WRIT_BOARD_BOARD: 'nowhere', PORT: 'eighty' }, { channels: withBoard(board) }),
      /2 faults[\s\S]*PORT: [\s\S]*WRIT_BOARD_BOARD: /,
    );
    const broker = await ground.start(env, { channels: withBoard(board) });
    const post = await ground.session();
    assert.equal((await post('/v1/grants', { capability: 'ask-plain' })).status, 202);
    assert.equal(await broker.store.prisma.approvalNotice.count(), 0);
    await broker.stop();
  } finally {
    await close();
  }
});

test('Slack in a whole broker: over Socket Mode, from the card to the agent, and back onto the card', async () => {
  const { ground, env, close } = await prepare('pglite');
  const decidable = askPlain.replace('tier: 2', 'owner: "user:approver@example.com", tier: 2, slack: decide');
  await writeFile(join(ground.manifests, 'agent.yaml'), source + decidable);
  const slack = await startSlack({
    clock: systemClock,
    users: [{ id: 'U0APPROVER', email: 'approver@example.com', name: 'Approver' }],
    channels: { C0ROOM: 'approvals' },
  });
  const broker = await ground.start({
    ...env,
    SLACK_BOT_TOKEN: slack.botToken,
    SLACK_APP_TOKEN: slack.appToken,
    SLACK_TEAM_ID: slack.teamId,
    SLACK_API_URL: slack.apiUrl,
    WRIT_SLACK_CHANNEL: 'C0ROOM',
    WRIT_SLACK_PEOPLE: 'U0APPROVER=approver@example.com',
  });
  try {
    await until('the socket is open', () => slack.sockets() === 1);
    const post = await ground.session();
    const { id } = (await (await post('/v1/grants', { capability: 'ask-plain' })).json()) as { id: string };
    await until('the card is there', () => slack.messages().length === 1);
    await slack.press('U0APPROVER', slack.messages()[0]!, 'approve');
    // Who answers for the agent's runs is a team, and nobody is in one who is known by Slack alone.
    assert.match(slack.whispers()[0]?.text ?? '', /nobody can tell that you are somebody else/);
    await slack.press('U0APPROVER', slack.messages()[0]!, 'deny');
    await slack.submit('U0APPROVER', 'Not from here.');
    const denied = await post(`/v1/grants/${id}/redeem`);
    assert.equal(denied.status, 403);
    await until('the card says so', () => /Denied by approver@example.com/.test(render(slack.messages()[0]!).text));
  } finally {
    await broker.stop();
    await slack.close();
    await close();
  }
});

test('what a channel serves is mounted', async () => {
  const { ground, env, close } = await prepare('pglite');
  const router = (name: string) => () =>
    express.Router().get('/board', (_req, res) => void res.type('text').send(`served by ${name}`));
  const module = boardModule('board', { name: 'board', router: router('board') });
  const broker = await ground.start({ ...env, ...switchedOn }, { channels: [...channelModules, module] });
  try {
    assert.equal(await (await fetch(`${ground.url}/board`)).text(), 'served by board');
  } finally {
    await broker.stop();
    await close();
  }
});
