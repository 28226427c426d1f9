/**
 * For the whole-way tests: a deployment (the world, a broker in it, its log) and agents who talk to it in
 * plain HTTP, so that a test sees every answer as it was sent and can send what no client library would.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type CryptoKey, calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK, SignJWT } from 'jose';
import { assertEventsFit } from '../broker/audit/rows.test-support.ts';
import { type Broker, startBroker } from '../broker/compose/start.ts';
import { manualClock, systemClock } from '../broker/core/clock.ts';
import type { JsonObject } from '../broker/core/vocabulary.ts';
import { assertDescribed, type RecordedAnswer } from '../broker/http/described-answers.test-support.ts';
import { placeBroker } from '../broker/store/store.test-support.ts';
import { openBrowser, type Page, signIn } from './oidc/browser.ts';
import { demoPassword, type LoginUser } from './oidc/login-provider.ts';
import { startWorld, type World } from './world.ts';

export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const jwtType = 'urn:ietf:params:oauth:token-type:jwt';
export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';

/** Members of the broker's answers that tests look at; which of them are there depends on the answer. */
export interface ReplyBody {
  [member: string]: unknown;
  id: string;
  status: string;
  code: string;
  error: string;
  error_description?: string;
  scope?: string;
  authorization_details?: { type: string; [member: string]: unknown }[];
  errors?: { path: string; message: string }[];
  reasons?: { code: string; path?: string; policy_id?: string }[];
  nearest?: { capability: string; params: JsonObject; ttl_seconds: number };
  plan: { provider: string; permission: JsonObject; ttl_seconds: number; digest: string };
  ttl_seconds: number;
  approval_url: string;
  decide_by: string;
  lease: { id: string; status: string; expires_at: string };
  credential: { [member: string]: string };
  credential_jwe: string;
  decision: string;
  access_token: string;
  token_type: string;
  expires_in: number;
  session_id: string;
  session_expires_at: string;
  session: { id: string; status: string; end_reason: string | null; grants_left: number | null; expires_at: string };
  leases: { id: string; status: string; provider: string; grant_id: string }[];
  grants: { id: string; status: string }[];
}

export interface Reply {
  status: number;
  headers: Headers;
  text: string;
  /** The parsed JSON, or an empty object where the answer is something else. */
  body: ReplyBody;
}

export interface Message {
  headers?: { [name: string]: string };
  /** Objects go as JSON, forms as forms, text and bytes as they are. */
  body?: unknown;
}

/** A key that proves requests (RFC 9449). */
export interface ProofKey {
  privateKey: CryptoKey;
  jwk: JWK;
  jkt: string;
}

export async function proofKey(): Promise<ProofKey> {
  const pair = await generateKeyPair('ES256', { extractable: true });
  const jwk = await exportJWK(pair.publicKey);
  return { privateKey: pair.privateKey, jwk, jkt: await calculateJwkThumbprint(jwk) };
}

/** @param changes claims put over the right ones: what a thief or a bug would send */
export function prove(
  key: ProofKey,
  request: { method: string; url: string; at: Date; token?: string },
  changes: JsonObject = {},
): Promise<string> {
  const ath = request.token === undefined ? {} : { ath: sha256(request.token) };
  const iat = Math.floor(request.at.getTime() / 1000);
  return new SignJWT({ htm: request.method, htu: request.url, iat, jti: randomUUID(), ...ath, ...changes })
    .setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk: { ...key.jwk } })
    .sign(key.privateKey);
}

const sha256 = (text: string) => createHash('sha256').update(text).digest('base64url');

export interface TaskDetail {
  [member: string]: unknown;
}

export const invoiceTask: TaskDetail = {
  type: 'task',
  task_type: 'answer-invoice-question',
  inputs: { customer_id: '42' },
};

export interface OpenOptions {
  /** Members over, or instead of, those of the example task. */
  task?: TaskDetail;
  /** Binds the session to it. */
  key?: ProofKey;
  subjectToken?: string;
  form?: { [name: string]: string };
  headers?: { [name: string]: string };
}

export interface Agent {
  sessionId: string;
  /** The token of the next calls; a heartbeat replaces it. */
  token: string;
  key: ProofKey | null;
  /** What the token endpoint said. */
  opened: ReplyBody;
  call(method: string, path: string, body?: unknown, headers?: { [name: string]: string }): Promise<Reply>;
  grant(body: { [member: string]: unknown }, headers?: { [name: string]: string }): Promise<Reply>;
}

export interface Approver {
  page(path: string): Promise<Page>;
  /** Sends a form by hand: what no page of ours offered. */
  post(path: string, fields: { [name: string]: string }): Promise<Page>;
  /** Opens the request, reads it, and decides. @returns the page that follows */
  decide(grantId: string, fields: { [name: string]: string }): Promise<Page>;
}

export interface DeploymentOptions {
  /** Default the embedded one: nothing waits for a server, so that time may stand still. */
  backend?: 'pglite' | 'postgres';
  env?: { [name: string]: string };
  /** Changes the trust file. */
  trust?: (source: string, world: World) => string;
  poolSize?: number;
  /** Who can sign in; a test may change them while it runs. */
  users?: LoginUser[];
  /** Of the clouds, in ms. Default 0: what the broker revokes is dead at once. */
  lagMs?: number;
  /** The clouds' clocks minus the broker's, in ms. Default 0. */
  cloudSkewMs?: number;
}

export interface Deployment {
  clock: ReturnType<typeof manualClock>;
  world: World;
  broker: Broker;
  /** The first start's admin token. */
  admin: string;
  /** What the broker was started with. */
  env: { [name: string]: string };
  /** Everything it logged. */
  log(): string;
  /** Every answer sent to anybody through this deployment, pages included, in order. */
  replies: { request: string; text: string; head: string }[];
  send(method: string, path: string, message?: Message): Promise<Reply>;
  asAdmin(method: string, path: string, message?: Message): Promise<Reply>;
  /** Publishes a manifest for whatever agent it names. */
  publish(agent: string, source: string): Promise<Reply>;
  tokenRequest(options?: OpenOptions): Promise<Reply>;
  openAgent(options?: OpenOptions): Promise<Agent>;
  /** An agent around a session that is open already. */
  agentOf(opened: ReplyBody, key?: ProofKey | null): Agent;
  approver(email?: string): Promise<Approver>;
  close(): Promise<void>;
}

/**
 * Time stands still in a deployment until a test moves it. It starts at the real time (a whole second),
 * because the login provider knows no other.
 */
export async function startDeployment(options: DeploymentOptions = {}): Promise<Deployment> {
  const clock = manualClock(new Date(Math.floor(systemClock.now().getTime() / 1000) * 1000));
  const world = await startWorld({
    clock,
    lagMs: options.lagMs ?? 0,
    cloudClock: {
      now: () => new Date(clock.now().getTime() + (options.cloudSkewMs ?? 0)),
      sleep: (ms, signal) => clock.sleep(ms, signal),
    },
    ...(options.users === undefined ? {} : { users: options.users }),
    ...(options.poolSize === undefined ? {} : { poolSize: options.poolSize }),
  });
  const folder = await mkdtemp(join(tmpdir(), 'writ-deployment-'));
  const trustFile = join(folder, 'trust.yaml');
  const trust = await readFile(world.env.WRIT_TRUST_FILE ?? '', 'utf8');
  await writeFile(trustFile, options.trust?.(trust, world) ?? trust);
  const database = await placeBroker(options.backend ?? 'pglite');
  const env: { [name: string]: string } = {
    ...world.env,
    WRIT_TRUST_FILE: trustFile,
    WRIT_LOG_LEVEL: 'trace',
    WRIT_REQUESTS_PER_MINUTE: '0',
    // A minute never passes by itself here.
    WRIT_REFUSALS_PER_MINUTE: '0',
    WRIT_KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64url'),
    ...database.env,
    // Many tests deny and ask again; those of the cool-down set it.
    WRIT_DENIAL_COOLDOWN_SECONDS: '0',
    ...options.env,
  };
  let log = '';
  const logTo = {
    write: (line: string) => {
      log += line;
    },
  };
  const broker = await startBroker(env, {
    clock,
    logTo,
    ...database.overrides,
  }).catch(async (error) => {
    await world.close();
    await database.drop();
    await rm(folder, { recursive: true, force: true });
    throw error;
  });
  const admin = broker.bootstrapToken ?? '';
  const replies: Deployment['replies'] = [];
  const answers: RecordedAnswer[] = [];

  const send = async (method: string, path: string, message: Message = {}): Promise<Reply> => {
    const { body } = message;
    const raw =
      body === undefined || typeof body === 'string' || body instanceof URLSearchParams || body instanceof Uint8Array;
    const response = await fetch(broker.url + path, {
      method,
      redirect: 'manual',
      headers: { ...(raw ? {} : { 'content-type': 'application/json' }), ...message.headers },
      ...(body === undefined ? {} : { body: raw ? (body as string) : JSON.stringify(body) }),
    });
    const text = await response.text();
    replies.push({ request: `${method} ${path}`, text, head: JSON.stringify([...response.headers]) });
    answers.push({ method, path, status: response.status, type: response.headers.get('content-type'), text });
    return { status: response.status, headers: response.headers, text, body: parsed(text) };
  };
  const asAdmin: Deployment['asAdmin'] = (method, path, message = {}) =>
    send(method, path, { ...message, headers: { authorization: `Bearer ${admin}`, ...message.headers } });

  const tokenRequest = async (open: OpenOptions = {}): Promise<Reply> => {
    const url = `${broker.url}/oauth/token`;
    const proof =
      open.key === undefined ? {} : { DPoP: await prove(open.key, { method: 'POST', url, at: clock.now() }) };
    const form = new URLSearchParams({
      grant_type: tokenExchange,
      subject_token_type: jwtType,
      authorization_details: JSON.stringify([{ ...invoiceTask, ...open.task }]),
      ...(open.form?.client_assertion === undefined
        ? { subject_token: open.subjectToken ?? (await world.subjectToken()) }
        : {}),
      ...open.form,
    });
    return send('POST', '/oauth/token', { body: form, headers: { ...proof, ...open.headers } });
  };

  const agentOf = (opened: ReplyBody, key: ProofKey | null = null): Agent => {
    const agent: Agent = {
      sessionId: opened.session_id,
      token: opened.access_token,
      key,
      opened,
      call: async (method, path, body, headers = {}) => {
        const request = { method, url: broker.url + path.split('?', 1)[0], at: clock.now(), token: agent.token };
        const own: { [name: string]: string } =
          key === null
            ? { authorization: `Bearer ${agent.token}` }
            : { authorization: `DPoP ${agent.token}`, DPoP: await prove(key, request) };
        return send(method, path, { body, headers: { ...own, ...headers } });
      },
      grant: (body, headers) => agent.call('POST', '/v1/grants', body, headers),
    };
    return agent;
  };

  return {
    clock,
    world,
    broker,
    admin,
    env,
    log: () => log,
    replies,
    send,
    asAdmin,
    tokenRequest,
    agentOf,
    publish: async (agent, source) => {
      const known = await asAdmin('GET', `/v1/admin/manifests/${agent}`);
      const etag = known.headers.get('etag');
      return asAdmin('PUT', `/v1/admin/manifests/${agent}?reason=test`, {
        body: source,
        headers: {
          'content-type': 'application/yaml',
          ...(etag === null ? { 'if-none-match': '*' } : { 'if-match': etag }),
        },
      });
    },
    openAgent: async (open = {}) => {
      const reply = await tokenRequest(open);
      assert.equal(reply.status, 200, reply.text);
      return agentOf(reply.body, open.key ?? null);
    },
    approver: async (email = 'approver@example.com') => {
      const browser = openBrowser();
      const seen = (page: Page) => {
        replies.push({ request: page.url, text: page.html, head: '' });
        return page;
      };
      seen(await signIn(browser, `${broker.url}/approvals`, { email, password: demoPassword }));
      return {
        page: async (path) => seen(await browser.open(broker.url + path)),
        post: async (path, fields) => {
          const inputs = Object.keys(fields).map((name) => `<input type="hidden" name="${name}">`);
          const form = `<form method="post" action="${path}">${inputs.join('')}</form>`;
          return seen(await browser.submit({ url: broker.url + path, status: 200, html: form }, fields));
        },
        decide: async (grantId, fields) => {
          const page = seen(await browser.open(`${broker.url}/approvals/${grantId}`));
          return seen(await browser.submit(page, fields, `/approvals/${grantId}`));
        },
      };
    },
    close: async () => {
      try {
        assertDescribed(answers);
        await assertEventsFit(broker.store);
      } finally {
        await broker.stop();
        await world.close();
        await database.drop();
        await rm(folder, { recursive: true, force: true });
      }
    },
  };
}

function parsed(text: string): ReplyBody {
  try {
    const value: unknown = JSON.parse(text);
    return (typeof value === 'object' && value !== null ? value : {}) as ReplyBody;
  } catch {
    return {} as ReplyBody;
  }
}
