/**
 * `npm run quickstart [-- --yes] [-- --slack] [-- --keep]`: the whole way on this machine, with nothing but
 * Node. Starts the broker (embedded database) and the counterparts of AWS, GitHub, Google Cloud, the platform
 * and the approvers' identity provider on loopback ports of their own, and a PostgreSQL server where one is
 * installed; runs the example agent, and shows its session's record.
 *
 *   --yes    the demo approver signs in and approves through the same pages a person would use
 *   --slack  the first approval is given in a Slack of its own; opens its page, with the card
 *   --keep   leaves everything running afterwards, the console included
 */
import { spawn } from 'node:child_process';
import { appendFile, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startBroker } from '../broker/compose/start.ts';
import { systemClock } from '../broker/core/clock.ts';
import { openBrowser, signIn } from '../sandbox/oidc/browser.ts';
import { demoPassword } from '../sandbox/oidc/login-provider.ts';
import { installedServers } from '../sandbox/postgres/binaries.ts';
import { startPostgres } from '../sandbox/postgres/start.ts';
import { startSlack } from '../sandbox/slack/start.ts';
import { startWorld } from '../sandbox/world.ts';
import { openShop } from './shop.ts';

const { values } = parseArgs({
  options: {
    yes: { type: 'boolean', default: false },
    slack: { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});
const noShop = 'none runs here, and in the embedded database whoever connects is its superuser';
const approver = { email: 'approver@example.com', password: demoPassword };

const dataDir = await mkdtemp(join(tmpdir(), 'writ-quickstart-'));
console.log('Starting the broker and its surroundings on loopback …');
const [world, shop] = await Promise.all([startWorld({ clock: systemClock }), startShop()]);
const slack = values.slack ? await startRoom() : null;
const broker = await startBroker({
  ...world.env,
  ...slack?.env,
  WRIT_DATA_DIR: dataDir,
  WRIT_LOG_LEVEL: 'error',
  WRIT_CHECKPOINTS: 'off',
  WRIT_OIDC_SCOPE: 'openid profile email groups',
  WRIT_MANIFEST_DIR: await manifestFolder(shop !== null),
  ...shop?.env,
});
console.log(
  `  · broker   ${broker.url}   (embedded database; the agent invoice-bot comes from sandbox/example/manifests)`,
);
console.log(`  · AWS ${world.aws.url}   GitHub ${world.github.url}   Google Cloud ${world.gcp.url}`);
console.log(`  · PostgreSQL for agents: ${shop?.words ?? noShop}`);
if (slack !== null) console.log(`  · Slack ${slack.pageUrl}   (a workspace with one room, #approvals)`);
console.log(`  · platform ${world.platform.issuer}   sign-in ${world.login.issuer}`);

/** Of the example agent, in order. */
const sessionIds: string[] = [];
let failed = await runAgent();
failed += await showRecord();
console.log(failed === 0 ? '\n✔ Every step held.' : '\n✘ Some steps did not hold.');

if (values.keep) {
  console.log(
    `\nLeft running. The console: ${broker.url}/   sign in as ${approver.email} or admin@example.com, password ${demoPassword}`,
  );
  console.log(`Admin API: Authorization: Bearer ${broker.bootstrapToken}\nCtrl-C stops everything.`);
  await new Promise((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
}
await broker.stop();
await world.close();
await slack?.close();
await shop?.close();
await rm(dataDir, { recursive: true, force: true });
process.exit(failed === 0 ? 0 : 1);

/**
 * A private PostgreSQL server, of the newest that is installed.
 * @returns null where none is installed, or the one that is does not run
 */
async function startShop() {
  const newest = installedServers().at(-1);
  const server = newest && (await startPostgres(newest).catch(() => null));
  if (!server) return null;
  const url = await openShop(server, [
    { schema: 'public', table: 'orders', through: 'policy', columns: ['customer_id'] },
  ]);
  const words = `${server.version} at 127.0.0.1:${server.port}, a private server with a prepared table of orders`;
  return { words, close: server.close, env: { WRIT_POSTGRES_URL: url } };
}

/** A Slack with a room for approvals, and what points the broker at it. */
async function startRoom() {
  const room = await startSlack({
    clock: systemClock,
    users: [
      { id: 'U0APPROVER', email: approver.email, name: 'Approver' },
      { id: 'U0OWNER', email: 'owner@example.com', name: 'Owner' },
      { id: 'U0OUTSIDER', email: 'outsider@example.com', name: 'Outsider' },
    ],
    channels: { C0APPROVALS: 'approvals' },
    interactionsUrl: `${world.brokerUrl}/slack/interactions`,
  });
  const env = {
    SLACK_BOT_TOKEN: room.botToken,
    SLACK_SIGNING_SECRET: room.signingSecret,
    SLACK_TEAM_ID: room.teamId,
    SLACK_API_URL: room.apiUrl,
    WRIT_SLACK_CHANNEL: 'C0APPROVALS',
    WRIT_SLACK_VERIFIED_EMAILS: '1',
  };
  return { ...room, env };
}

/** The example's manifest, with what depends on this machine, and its tools. @returns the folder */
async function manifestFolder(withShop: boolean): Promise<string> {
  const manifests = join(dataDir, 'manifests');
  const example = join(import.meta.dirname, '../sandbox/example');
  await cp(join(example, 'manifests'), manifests, { recursive: true });
  for (const part of [...(withShop ? ['read-orders.yaml'] : []), 'tools.yaml'])
    await appendFile(join(manifests, 'invoice-bot.yaml'), await readFile(join(example, part), 'utf8'));
  if (values.slack) await decideInSlack(join(manifests, 'invoice-bot.yaml'));
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
 * @returns 1 when a step did not hold
 */
async function runAgent(): Promise<number> {
  const agent = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, '../sandbox/example/agent.ts')],
    {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: {
        PATH: process.env.PATH,
        WRIT_URL: broker.url,
        AWS_ENDPOINT_URL: world.aws.url,
        STORAGE_URL: world.gcp.url,
        ...(shop === null ? {} : { SHOP_DATABASE: 'yes' }),
        AWS_EC2_METADATA_DISABLED: 'true',
        ...world.jobEnv,
      },
    },
  );
  agent.on('message', async (message: { session?: string; approvalUrl?: string; button?: string }) => {
    if (message.session !== undefined) sessionIds.push(message.session);
    if (message.approvalUrl === undefined) return;
    // What the session may go on with is decided on the page, also where there is a Slack.
    if (slack !== null && message.button === undefined) {
      const pressing = values.yes ? approveInSlack(slack.pageUrl) : showInBrowser(slack.pageUrl);
      await pressing.catch((error) => console.log(`  ✘ in Slack it failed: ${error.message}`));
      return;
    }
    if (!values.yes) {
      console.log(
        `  → open it in a browser and sign in as ${approver.email}, password ${demoPassword} (or run with -- --yes)`,
      );
      return;
    }
    await approve(message.approvalUrl, message.button ?? 'Approve exactly this').catch((error) =>
      console.log(`  ✘ the demo approver failed: ${error.message}`),
    );
  });
  const code = await new Promise<number | null>((resolve) => agent.once('exit', resolve));
  return code === 0 ? 0 : 1;
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
  await browser.submit(page, {}, button);
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

async function showRecord(): Promise<number> {
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
