/**
 * A broker that really listens, with one scripted provider (`plain`) and an agent that opens sessions by
 * private_key_jwt.
 */

import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { z } from 'zod';
import type { ProviderModule } from '../providers/contract.ts';
import { freePort } from '../sandbox/free-port.ts';
import { type Broker, type Overrides, startBroker } from './compose/start.ts';
import { systemClock } from './core/clock.ts';
import type { Clock } from './core/vocabulary.ts';
import { assertDescribed } from './http/described-answers.test-support.ts';
import { recordAnswers } from './http/recorded-answers.test-support.ts';
import { scriptedProvider } from './scripted-provider.test-support.ts';
import { placeBroker } from './store/store.test-support.ts';

export const source = `apiVersion: writ/v1
agent: scripted-agent
owner: team:billing
description: Tries things.
envelope: { wall_time: 30m }
task_types: { work: { description: Work., inputs: {} } }
capabilities:
  use-plain: { description: Use it., provider: plain, tasks: [work], tier: 1, max_ttl: 15m }
`;

export type Ground = Awaited<ReturnType<typeof prepareGround>>;

/**
 * What brokers of one deployment share: the upstream, the trust and manifest files, the key-encryption key,
 * the address.
 * @param moreAgents that open sessions besides, each as the client of its own name, with the same key
 * @param host a name, where browsers' passkeys are used: they belong to none without
 * @param clock the provider's, where it is not the system's
 */
export async function prepareGround(
  moreAgents: readonly string[] = [],
  host = '127.0.0.1',
  clock: Clock = systemClock,
) {
  const folder = await mkdtemp(join(tmpdir(), 'writ-running-'));
  const manifests = join(folder, 'manifests');
  const { privateKey, publicKey } = await generateKeyPair('ES256');
  const keys = [{ ...(await exportJWK(publicKey)), alg: 'ES256', kid: 'c' }];
  // Somebody answers for its runs: one person's approval is enough.
  const responsible = 'team:operators';
  const clients = [['scripted', 'scripted-agent'], ...moreAgents.map((name) => [name, name])].map(
    ([client_id, agent]) => ({ client_id, agent, responsible, jwks: { keys } }),
  );
  const trust = join(folder, 'trust.json');
  await writeFile(trust, JSON.stringify({ issuers: [], bindings: [], clients }));
  await mkdir(manifests);
  await writeFile(join(manifests, 'agent.yaml'), source);
  const port = await freePort();
  const url = `http://${host}:${port}`;
  const ports = new Set([port]);
  const recorded = recordAnswers(ports);
  const provider = scriptedProvider({ name: 'plain', clock, secret: true });
  const module: ProviderModule = {
    name: 'plain',
    switchedOnBy: ['PLAIN'],
    params: provider.params,
    settings: z.object({ PLAIN: z.string() }),
    create: () => provider,
  };
  const log: string[] = [];
  const places: { drop(): Promise<void> }[] = [];
  const env = {
    PLAIN: '1',
    PORT: String(port),
    WRIT_ISSUER_URL: url,
    WRIT_KEY_ENCRYPTION_KEY: randomBytes(32).toString('base64url'),
    WRIT_MANIFEST_DIR: manifests,
    WRIT_TRUST_FILE: trust,
    WRIT_LOG_LEVEL: 'debug',
    // Tests deny, and ask again.
    WRIT_DENIAL_COOLDOWN_SECONDS: '0',
  };
  const tokenFor = async (form: { [name: string]: string }): Promise<string> => {
    const opened = await fetch(`${url}/oauth/token`, { method: 'POST', body: new URLSearchParams(form) });
    const answer = (await opened.json()) as { access_token: string };
    if (opened.status !== 200) throw new Error(JSON.stringify(answer));
    return answer.access_token;
  };
  type Post = (path: string, body?: object | string, init?: RequestInit) => Promise<Response>;
  type Holder = Post & {
    /** Its header, for requests of another shape. */
    authorization: string;
    get(path: string): Promise<Response>;
    withHeaders(path: string, body: object, headers: Record<string, string>): Promise<Response>;
    child(capabilities: string[]): Promise<Holder>;
  };
  const holderOf = (token: string): Holder => {
    const authorization = `Bearer ${token}`;
    const post: Post = (path, body, init = {}) =>
      fetch(new URL(path, url), {
        ...init,
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
    const get = (path: string): Promise<Response> => fetch(new URL(path, url), { headers: { authorization } });
    const child = async (capabilities: string[]) =>
      holderOf(
        await tokenFor({
          grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
          subject_token: token,
          subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
          authorization_details: JSON.stringify([{ type: 'task', capabilities }]),
        }),
      );
    const withHeaders = (path: string, body: object, headers: Record<string, string>) =>
      fetch(new URL(path, url), {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json', ...headers },
        body: JSON.stringify(body),
      });
    return Object.assign(post, { authorization, get, child, withHeaders });
  };
  return {
    folder,
    manifests,
    url,
    provider,
    log,
    env,
    /** On a database of its own, unless the environment or the overrides say where. */
    start: async (more: Record<string, string> = {}, overrides: Overrides = {}): Promise<Broker> => {
      if (more.PORT !== undefined) ports.add(Number(more.PORT));
      const isPlaced = 'DATABASE_URL' in more || 'WRIT_DATA_DIR' in more || overrides.inMemory !== undefined;
      const place = isPlaced ? null : await placeBroker();
      if (place !== null) places.push(place);
      return startBroker(
        { ...env, ...place?.env, ...more },
        { modules: [module], logTo: { write: (line) => void log.push(line) }, ...place?.overrides, ...overrides },
      );
    },
    /**
     * @param now the broker's own time, where it is not the system's
     * @param client and the task that it declares
     * @returns POST, and GET, as the holder of a new session, and how to open a child of it; to another
     *   broker by its whole URL
     */
    session: async (now = systemClock.now(), client = 'scripted', task: object = { task_type: 'work', inputs: {} }) => {
      const seconds = Math.floor(now.getTime() / 1000);
      const assertion = await new SignJWT({})
        .setProtectedHeader({ alg: 'ES256', kid: 'c' })
        .setIssuer(client)
        .setSubject(client)
        .setAudience(url)
        .setIssuedAt(seconds)
        .setExpirationTime(seconds + 60)
        .setJti(crypto.randomUUID())
        .sign(privateKey);
      const token = await tokenFor({
        grant_type: 'client_credentials',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: assertion,
        authorization_details: JSON.stringify([{ type: 'task', ...task }]),
      });
      return holderOf(token);
    },
    /** Whatever its brokers answered must be as `/openapi.json` says. */
    close: async () => {
      recorded.stop();
      for (const place of places) await place.drop();
      await rm(folder, { recursive: true, force: true });
      assertDescribed(recorded.answers, { anyCredential: true });
    },
  };
}
