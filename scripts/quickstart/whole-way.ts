/**
 * Starts the broker (embedded database) and the counterparts of AWS, GitHub, Google Cloud, the platform and
 * the approvers' identity provider on loopback ports of their own, and a PostgreSQL server where one is
 * installed; runs the example agent, and shows its sessions' record.
 */
import { spawn } from 'node:child_process';
import { appendFile, cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Broker, startBroker } from '../../broker/compose/start.ts';
import { systemClock } from '../../broker/core/clock.ts';
import { openBrowser, signIn } from '../../sandbox/oidc/browser.ts';
import { demoPassword } from '../../sandbox/oidc/login-provider.ts';
import { installedServers } from '../../sandbox/postgres/binaries.ts';
import { startPostgres } from '../../sandbox/postgres/start.ts';
import { startSlack } from '../../sandbox/slack/start.ts';
import { startWorld, type World } from '../../sandbox/world.ts';
import { openShop } from '../shop.ts';
import type { Place } from './place.ts';
import { playgroundWords } from './playground.ts';

export interface WholeWayOptions {
  yes: boolean;
  slack: boolean;
  keep: boolean;
  /** How long a person has to decide. */
  waitSeconds: number;
}

const noShop = 'none runs here, and in the embedded database whoever connects is its superuser';
const approver = { email: 'approver@example.com', password: demoPassword };

/** @returns how many parts did not hold */
export async function goTheWholeWay(values: WholeWayOptions, place: Place): Promise<number> {
  place.doing('starting the counterparts of the clouds');
  const [world, shop] = await Promise.all([place.keep(startWorld({ clock: systemClock })), startShop(place)]);
  const slack = values.slack ? await startRoom(world, place) : null;
  place.doing('making the embedded database and starting the broker');
  const starting = startBroker({
    ...world.env,
    ...slack?.env,
    WRIT_DATA_DIR: place.folder,
    WRIT_LOG_LEVEL: 'error',
    WRIT_CHECKPOINTS: 'off',
    WRIT_OIDC_SCOPE: 'openid profile email groups',
    WRIT_APPROVAL_TIMEOUT_SECONDS: String(values.waitSeconds),
    WRIT_MANIFEST_DIR: await manifestFolder(place.folder, { withShop: shop !== null, inSlack: values.slack }),
    ...shop?.env,
  });
  void place.keep(starting.then((started) => ({ close: () => started.stop() }))).catch(() => {});
  const broker = await starting;
  place.doing(null);
  console.log(
    `  · broker   ${broker.url}   (embedded database; the agent invoice-bot comes from sandbox/example/manifests)`,
  );
  console.log(`  · AWS ${world.aws.url}   GitHub ${world.github.url}   Google Cloud ${world.gcp.url}`);
  console.log(`  · PostgreSQL for agents: ${shop?.words ?? noShop}`);
  if (slack !== null) console.log(`  · Slack ${slack.pageUrl}   (a workspace with one room, #approvals)`);
  console.log(`  · platform ${world.platform.issuer}   sign-in ${world.login.issuer}`);

  const surroundings = { values, place, world, broker, slackPage: slack?.pageUrl ?? null, withShop: shop !== null };
  const agent = await runAgent(surroundings);
  const failed = agent.failed + (await showRecord(broker, agent.sessionIds));
  const undecided = agent.undecided ? ' Nobody decided on what a person must approve, so it was not done.' : '';
  console.log(failed === 0 ? `\n✔ Every step held.${undecided}` : '\n✘ Some steps did not hold.');
  if (values.keep) {
    const { bootstrapToken } = broker;
    console.log(playgroundWords({ brokerUrl: broker.url, adminToken: bootstrapToken!, jobEnv: world.jobEnv }));
    // A signal ends it (place.ts).
    await new Promise(() => setInterval(() => {}, 3_600_000));
  }
  return failed;
}

interface Surroundings {
  values: WholeWayOptions;
  place: Place;
  world: World;
  broker: Broker;
  slackPage: string | null;
  withShop: boolean;
}

/**
 * A private PostgreSQL server, of the newest that is installed.
 * @returns null where none is installed, or the one that is does not run
 */
async function startShop(place: Place) {
  const newest = installedServers().at(-1);
  const server = newest && (await place.keep(startPostgres(newest)).catch(() => null));
  if (!server) return null;
  const url = await openShop(server, [
    { schema: 'public', table: 'orders', through: 'policy', columns: ['customer_id'] },
  ]);
  const words = `${server.version} at 127.0.0.1:${server.port}, a private server with a prepared table of orders`;
  return { words, env: { WRIT_POSTGRES_URL: url } };
}

/** A Slack with a room for approvals, and what points the broker at it. */
async function startRoom(world: World, place: Place) {
  const starting = startSlack({
    clock: systemClock,
    users: [
      { id: 'U0APPROVER', email: approver.email, name: 'Approver' },
      { id: 'U0OWNER', email: 'owner@example.com', name: 'Owner' },
      { id: 'U0OUTSIDER', email: 'outsider@example.com', name: 'Outsider' },
    ],
    channels: { C0APPROVALS: 'approvals' },
    interactionsUrl: `${world.brokerUrl}/slack/interactions`,
  });
  const room = await place.keep(starting);
  const env = {
    SLACK_BOT_TOKEN: room.botToken,
    SLACK_SIGNING_SECRET: room.signingSecret,
    SLACK_TEAM_ID: room.teamId,
    SLACK_API_URL: room.apiUrl,
    WRIT_SLACK_CHANNEL: 'C0APPROVALS',
    WRIT_SLACK_VERIFIED_EMAILS: '1',
  };
  return { pageUrl: room.pageUrl, env };
}

/** The example's manifest, with what depends on this machine, and its tools. @returns the folder */
async function manifestFolder(
  folder: string,
  { withShop, inSlack }: { withShop: boolean; inSlack: boolean },
): Promise<string> {
  const manifests = join(folder, 'manifests');
  const example = join(import.meta.dirname, '../../sandbox/example');
  await cp(join(example, 'manifests'), manifests, { recursive: true });
  for (const part of [...(withShop ? ['read-orders.yaml'] : []), 'tools.yaml'])
    await appendFile(join(manifests, 'invoice-bot.yaml'), await readFile(join(example, part), 'utf8'));
  if (inSlack) await decideInSlack(join(manifests, 'invoice-bot.yaml'));
  return manifests;
}

/** The correction of an invoice may be approved in Slack, by a person: nobody is in a group there. */
async function decideInSlack(file: string): Promise<void> {
  const source = await readFile(file, 'utf8');
  const edited = source.replace(
    /owner: team:storage\n(\s+tasks: .*\n)(\s+)tier: 2\n/,
    `owner: user:${approver.email}\n$1$2tier: 2\n$2slack: decide\n`,
  );
  if (edited === source) throw new Error('the example has no capability that a person approves');
  await writeFile(file, edited);
}

/**
 * The agent is a process of its own: it gets the addresses and what its platform gives a job, nothing else.
 * @returns `failed` is 1 when a step did not hold
 */
async function runAgent({ values, place, world, broker, slackPage, withShop }: Surroundings) {
  /** Of the example agent, in order. */
  const sessionIds: string[] = [];
  let undecided = false;
  const atWork = () => place.doing('the example agent is at work');
  atWork();
  const agent = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, '../../sandbox/example/agent.ts')],
    {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      env: {
        PATH: process.env.PATH,
        WRIT_URL: broker.url,
        AWS_ENDPOINT_URL: world.aws.url,
        STORAGE_URL: world.gcp.url,
        ...(withShop ? { SHOP_DATABASE: 'yes' } : {}),
        AWS_EC2_METADATA_DISABLED: 'true',
        ...world.jobEnv,
      },
    },
  );
  place.keepProcess(agent);
  createInterface({ input: agent.stdout! }).on('line', (line) => {
    atWork();
    console.log(line);
  });
  type Message = { session?: string; approvalUrl?: string; button?: string; undecided?: true };
  agent.on('message', async (message: Message) => {
    if (message.session !== undefined) sessionIds.push(message.session);
    if (message.undecided === true) undecided = true;
    if (message.approvalUrl === undefined) return;
    place.doing('waiting for a person to decide', values.yes ? 2_000 : 30_000);
    // What the session may go on with is decided on the page, also where there is a Slack.
    if (slackPage !== null && message.button === undefined) {
      const pressing = values.yes ? approveInSlack(slackPage) : showInBrowser(slackPage);
      await pressing.catch((error) => console.log(`  ✘ in Slack it failed: ${error.message}`));
      return;
    }
    if (!values.yes) {
      console.log(
        `  → open it in a browser and sign in as ${approver.email}, password ${demoPassword} (or run with -- --yes); undecided for ${values.waitSeconds} s is denied`,
      );
      return;
    }
    await approve(message.approvalUrl, message.button ?? 'Approve exactly this').catch((error) =>
      console.log(`  ✘ the demo approver failed: ${error.message}`),
    );
  });
  const code = await new Promise<number | null>((resolve) => agent.once('close', resolve));
  place.doing(null);
  return { failed: code === 0 ? 0 : 1, sessionIds, undecided };
}

/**
 * Signs in with the identity provider's form, reads the page, and sends its form: the same endpoints a
 * person's browser uses.
 */
async function approve(url: string, button: string): Promise<void> {
  const browser = openBrowser();
  const page = await signIn(browser, url, approver);
  const done = await browser.submit(page, {}, button);
  console.log(`  · --yes: ${approver.email} signed in, read the page and pressed “${button}” (HTTP ${done.status})`);
}

/** Waits for the card, and presses its button on the page of the sandbox's Slack. */
async function approveInSlack(pageUrl: string): Promise<void> {
  const button = 'Approve exactly this';
  const browser = openBrowser();
  let page = await browser.open(pageUrl);
  for (let look = 0; !page.html.includes(button) && look < 100; look += 1) {
    await systemClock.sleep(200);
    page = await browser.open(pageUrl);
  }
  page = await browser.submit(page, {}, button);
  // A program is faster than a person reads: a window asks it to confirm, once.
  for (let look = 0; !page.html.includes('action="/submit"') && page.html.includes(button) && look < 50; look += 1) {
    await systemClock.sleep(200);
    page = await browser.open(pageUrl);
  }
  if (page.html.includes('action="/submit"')) await browser.submit(page, {}, 'action="/submit"');
  console.log(`  · --yes: ${approver.email} read the card in Slack and pressed “${button}”`);
}

/** Where the machine has a browser; the address is said anyway. */
async function showInBrowser(pageUrl: string): Promise<void> {
  console.log(`  → the card is in Slack: ${pageUrl} (you are ${approver.email} there; approve or deny it)`);
  const opener = { darwin: 'open', linux: 'xdg-open' }[process.platform as string];
  if (opener === undefined || !process.stdout.isTTY) return;
  const shown = spawn(opener, [pageUrl], { stdio: 'ignore', detached: true });
  shown.on('error', () => {});
  shown.unref();
}

interface RecordedEvent {
  seq: number;
  at: string;
  type: string;
  actor: string;
  lease_id: string | null;
  grant_id: string | null;
}

async function showRecord(broker: Broker, sessionIds: readonly string[]): Promise<number> {
  const headers = { authorization: `Bearer ${broker.bootstrapToken}` };
  let shown = 0;
  console.log('\n9. The record of both sessions');
  for (const sessionId of sessionIds) {
    const answer = await fetch(`${broker.url}/v1/admin/sessions/${sessionId}/events`, { headers });
    const { events } = (await answer.json()) as { events: RecordedEvent[] };
    shown += events.length;
    console.log(`  ${sessionId}`);
    for (const { seq, at, type, actor, lease_id, grant_id } of events) {
      const about = lease_id ?? grant_id ?? '';
      console.log(`  ${String(seq).padStart(3)}  ${at.slice(11, 23)}  ${type.padEnd(18)} ${actor.padEnd(28)} ${about}`);
    }
  }
  const verification = (await (await fetch(`${broker.url}/v1/admin/audit/verify`, { headers })).json()) as {
    chains: number;
    rows: number;
    broken: unknown;
  };
  const held = verification.broken === null && shown > 0;
  console.log(`  ${held ? '✔' : '✘'} ${verification.rows} rows in ${verification.chains} hash chains hold`);
  return held ? 0 : 1;
}
