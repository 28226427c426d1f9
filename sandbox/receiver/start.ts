/**
 * A receiver of Security Event Tokens, as strict as the standards let it be: it takes a push (RFC 8935) or an
 * answer to its poll (RFC 8936) only where the token is signed by a key that the transmitter publishes, is a
 * Security Event Token for this receiver, and has what Shared Signals demand and nothing they forbid.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRemoteJWKSet, jwtVerify } from 'jose';

export interface ReceivedSet {
  jti: string;
  iat: number;
  sub_id: { format: string; [member: string]: unknown };
  /** The one event. */
  type: string;
  event: { [member: string]: unknown };
  /** The token as it came. */
  token: string;
}

/**
 * `hang`: never answers. `garbage`: an endless answer of 400. `redirect`: elsewhere. `answer_lost`: it has
 * the token, and its answer does not arrive. A number: that status. `{ retryAfter }`: 429. `{ until }`: 503,
 * with a time. `{ err }`: 400, as the standard has it.
 */
export type ReceiverFault =
  | 'hang'
  | 'garbage'
  | 'redirect'
  | 'answer_lost'
  | number
  | { retryAfter: number }
  | { until: { from: Date; to: Date } }
  | { err: string };

export interface Receiver {
  /** For pushes. */
  url: string;
  audience: string;
  pushToken: string;
  /** Each `jti` once, in the order in which they came first. */
  sets(): ReceivedSet[];
  /** What was wrong with what came, in words. */
  faults: string[];
  /** Requests that came, and how often each `jti` was taken. */
  requests(): number;
  /** Whether it will answer one that came. */
  answering(): boolean;
  times(jti: string): number;
  /** @param about when only some events fail: the session or agent they are about */
  fail(fault: ReceiverFault | null, about?: string): void;
  /** @throws Error when the answer is none of RFC 8936, or a token in it does not hold */
  poll(endpoint: string, token: string, body: object): Promise<{ sets: ReceivedSet[]; moreAvailable: boolean }>;
  close(): Promise<void>;
}

/**
 * @param transmitter its issuer; its keys are where its metadata says
 * @param algorithm the only one that it takes; RS256 is the CAEP Interoperability Profile's
 */
export async function startReceiver(transmitter: string, audience: string, algorithm = 'RS256'): Promise<Receiver> {
  const pushToken = randomBytes(24).toString('base64url');
  const taken = new Map<string, ReceivedSet>();
  const times = new Map<string, number>();
  const faults: string[] = [];
  const endless = new Set<ServerResponse>();
  let keys: ReturnType<typeof createRemoteJWKSet> | undefined;
  let fault: ReceiverFault | null = null;
  let failing: string | undefined;
  let requests = 0;
  const underWay = new Set<ServerResponse>();

  const server = createServer((request, response) => {
    underWay.add(response);
    response.once('close', () => underWay.delete(response));
    take(request, response).catch((error: Error) => {
      faults.push(error.message);
      answer(response, 400, { err: 'invalid_request', description: error.message });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/events`;

  async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    requests += 1;
    let token = '';
    for await (const chunk of request.setEncoding('utf8')) token += chunk;
    const { headers, method } = request;
    if (method !== 'POST' || request.url !== '/events') throw new Error(`${method} ${request.url}`);
    if (headers['content-type'] !== 'application/secevent+jwt') throw new Error(`type ${headers['content-type']}`);
    if (headers.accept !== 'application/json') throw new Error(`accept ${headers.accept}`);
    if (headers.authorization !== `Bearer ${pushToken}`)
      return answer(response, 400, { err: 'authentication_failed', description: 'another bearer token' });
    const set = await verify(token);
    if (fault !== null && (failing === undefined || JSON.stringify(set.sub_id).includes(failing)))
      return misbehave(fault, set, response);
    keep(set);
    response.writeHead(202).end();
  }

  function keep(set: ReceivedSet): void {
    times.set(set.jti, (times.get(set.jti) ?? 0) + 1);
    if (!taken.has(set.jti)) taken.set(set.jti, set);
  }

  function misbehave(how: ReceiverFault, set: ReceivedSet, response: ServerResponse): void {
    if (how === 'hang' || how === 'garbage') underWay.delete(response);
    if (how === 'hang') return;
    if (how === 'answer_lost') {
      keep(set);
      response.destroy();
    } else if (how === 'redirect') response.writeHead(307, { location: `${url}?again` }).end();
    else if (how === 'garbage') sayForEver(response);
    else if (typeof how === 'number') answer(response, how, {});
    else if ('err' in how) answer(response, 400, { err: how.err, description: 'as\u0007 told\nto' });
    else if ('retryAfter' in how) response.writeHead(429, { 'retry-after': String(how.retryAfter) }).end();
    else {
      const [date, after] = [how.until.from, how.until.to].map((at) => at.toUTCString());
      response.writeHead(503, { date, 'retry-after': after }).end();
    }
  }

  function sayForEver(response: ServerResponse): void {
    response.writeHead(400, { 'content-type': 'application/json' });
    endless.add(response);
    const more = () => {
      while (!response.destroyed && response.write('{"err":'.repeat(1000)));
    };
    response.on('drain', more).on('error', () => {});
    more();
  }

  async function verify(token: string): Promise<ReceivedSet> {
    keys ??= createRemoteJWKSet(new URL((await metadata()).jwks_uri));
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      issuer: transmitter,
      audience,
      typ: 'secevent+jwt',
      algorithms: [algorithm],
      requiredClaims: ['iss', 'iat', 'jti', 'aud', 'sub_id', 'events'],
    });
    if (protectedHeader.kid === undefined) throw new Error('no kid');
    if (payload.aud !== audience) throw new Error('for others too');
    for (const claim of ['exp', 'sub', 'nbf']) if (claim in payload) throw new Error(`has ${claim}`);
    const { jti = '', iat = 0, sub_id, events } = payload as unknown as ReceivedSet & { events: object };
    const [[type, event] = ['', {}], ...others] = Object.entries(events);
    if (others.length > 0 || !URL.canParse(type)) throw new Error('not one event');
    if (typeof sub_id?.format !== 'string') throw new Error('no subject');
    return { jti, iat, sub_id, type, event, token };
  }

  async function metadata(): Promise<{ jwks_uri: string }> {
    const response = await fetch(`${transmitter}/.well-known/ssf-configuration`);
    const found = (await response.json()) as { issuer: string; jwks_uri: string; spec_version: string };
    if (found.issuer !== transmitter || found.spec_version !== '1_0') throw new Error('another transmitter');
    return found;
  }

  return {
    url,
    audience,
    pushToken,
    sets: () => [...taken.values()],
    faults,
    requests: () => requests,
    answering: () => underWay.size > 0,
    times: (jti) => times.get(jti) ?? 0,
    fail: (how, about) => {
      fault = how;
      failing = about;
    },
    poll: async (endpoint, token, body) => {
      const response = await fetch(endpoint, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify(body),
      });
      if (response.status !== 200) throw new Error(`status ${response.status}`);
      if (!response.headers.get('content-type')?.startsWith('application/json')) throw new Error('no JSON');
      const {
        sets,
        moreAvailable = false,
        ...more
      } = (await response.json()) as {
        sets: { [jti: string]: string };
        moreAvailable?: boolean;
      };
      if (Object.keys(more).length > 0 || typeof moreAvailable !== 'boolean') throw new Error('no answer to a poll');
      const verified: ReceivedSet[] = [];
      for (const [jti, token] of Object.entries(sets)) {
        const set = await verify(token);
        if (set.jti !== jti) throw new Error('listed under another jti');
        verified.push(set);
      }
      return { sets: verified, moreAvailable };
    },
    close: async () => {
      for (const response of endless) response.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'content-language': 'en' });
  response.end(JSON.stringify(body));
}
