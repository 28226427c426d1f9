/**
 * From the call that a rule ends the session for to the moment at which the target refuses the credential
 * that the session held: the whole path, tried at the target.
 */
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { startChild } from '../child.ts';
import { makePlace, startBrokers } from '../servers.ts';

export interface RefusalRow {
  name: 'refusal';
  backend: 'postgres';
  effect: 'terminate';
  sessions: number;
  /** From sending the call to the broker's answer. */
  answer_p50_ms: number;
  /** From sending the call to the first refusal at the target. */
  p50_ms: number;
  worst_ms: number;
  /** How long the target itself takes to enforce a revocation that it has. */
  target_lag_ms: number;
}

/** Lag of the sandbox's AWS (sandbox/world.ts). */
const targetLagMs = 300;

export async function measureRefusals(sessions: number): Promise<RefusalRow> {
  const cleanUp: (() => Promise<unknown>)[] = [];
  try {
    const sandbox = await startChild('sandbox-process.ts', {});
    cleanUp.push(() => sandbox.stop());
    const place = await makePlace('postgres');
    cleanUp.push(() => place.remove());
    const env = await sandbox.ask<Record<string, string>>('env');
    const broker = await startBrokers(env, place, 1, 'calls');
    cleanUp.push(() => Promise.all(broker.children.map((child) => child.stop())));
    const url = broker.urls[0]!;
    const measured: { answered: number; refused: number }[] = [];
    for (const subject of await sandbox.ask<string[]>('tokens', sessions))
      measured.push(await oneRefusal(url, await open(url, subject), env.AWS_ENDPOINT_URL!));
    const sorted = (name: 'answered' | 'refused') => measured.map((one) => one[name]).sort((a, b) => a - b);
    const middle = (values: number[]) => values[Math.floor(values.length / 2)] ?? 0;
    return {
      name: 'refusal',
      backend: 'postgres',
      effect: 'terminate',
      sessions,
      answer_p50_ms: middle(sorted('answered')),
      p50_ms: middle(sorted('refused')),
      worst_ms: sorted('refused').at(-1) ?? 0,
      target_lag_ms: targetLagMs,
    };
  } finally {
    for (const undo of cleanUp.reverse()) await undo();
  }
}

/** A session for the customer who has an invoice at the target. */
async function open(url: string, subjectToken: string): Promise<string> {
  const task = { type: 'task', task_type: 'answer-invoice-question', inputs: { customer_id: '42' } };
  const form = new URLSearchParams({
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    subject_token: subjectToken,
    authorization_details: JSON.stringify([task]),
  });
  const opened = await fetch(`${url}/oauth/token`, { method: 'POST', body: form });
  return ((await opened.json()) as { access_token: string }).access_token;
}

async function oneRefusal(url: string, token: string, endpoint: string) {
  const post = async (path: string, body: object) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const response = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
    const answer = (await response.json()) as { [member: string]: unknown };
    if (!response.ok) throw new Error(JSON.stringify(answer));
    return answer;
  };
  const call = (name: string, args: object) =>
    post('/access/v1/evaluation', {
      subject: { type: 'agent', id: 'invoice-bot' },
      action: { name },
      resource: { type: 'tool', id: name },
      context: { arguments: args },
    });
  const { credential } = (await post('/v1/grants', { capability: 'read-customer-files' })) as {
    credential: { [member: string]: string };
  };
  const client = new S3Client({
    endpoint,
    region: 'eu-central-1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: {
      accessKeyId: credential.access_key_id!,
      secretAccessKey: credential.secret_access_key!,
      sessionToken: credential.session_token!,
    },
  });
  const isLetIn = () =>
    client.send(new GetObjectCommand({ Bucket: 'orders', Key: 'customers/42/invoice.txt' })).then(
      // What is not read keeps its connection.
      async ({ Body }) => (await Body?.transformToString()) !== undefined,
      (error: { name: string }) => {
        if (error.name !== 'AccessDenied') throw error;
        return false;
      },
    );
  if (!(await isLetIn())) throw new Error('the key does not work');
  await call('read_invoice', { invoice: '2026-0042' });
  const startedAt = performance.now();
  const { decision, context } = (await call('send_mail', { to: 'thief@elsewhere.test' })) as {
    decision: boolean;
    context: { effect: string };
  };
  if (decision || context.effect !== 'terminate') throw new Error('the rule did not end the session');
  const answered = performance.now() - startedAt;
  while (await isLetIn());
  return { answered, refused: performance.now() - startedAt };
}
