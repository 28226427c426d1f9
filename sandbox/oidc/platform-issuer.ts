/**
 * A platform that vouches for workloads, as GitHub Actions or a Kubernetes cluster does: discovery, JWKS, and
 * tokens about who runs what.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { base64url, type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWK, SignJWT } from 'jose';
import type { Clock, JsonObject } from '../../broker/core/vocabulary.ts';

export type IssuerAlgorithm = 'RS256' | 'PS256' | 'ES256' | 'ES384' | 'EdDSA';

/**
 * How the endpoints answer from now on. `slow`: accepted and never answered. `huge`: right, but a megabyte
 * long. `impostor`: another issuer's discovery document.
 */
export type IssuerMood = 'well' | 'outage' | 'slow' | 'redirect' | 'not_json' | 'huge' | 'impostor';

/** Ways to forge a token that the platform would never issue. */
export type Forgery = 'alg_none' | 'hs256_with_public_key' | 'foreign_key' | 'tampered_payload';

export interface MintOptions {
  /** Seconds from now to `exp`; default 300. */
  lifetimeSeconds?: number;
  /** Claims to leave out: `['exp']`. */
  without?: string[];
  /** Members added to, or put in place of those of, the header. */
  header?: JsonObject;
  forge?: Forgery;
}

/** A workload known to the platform: its request token, and what the platform says about whoever holds it. */
export interface Workload {
  requestToken: string;
  /** `sub` and the rest; `aud` is the caller's choice, everything else is not. */
  claims: JsonObject & { sub: string };
}

export interface PlatformIssuerOptions {
  clock: Clock;
  port?: number;
  algorithm?: IssuerAlgorithm;
  /** `use` of the published keys: SPIFFE issuers say `jwt-svid`; null leaves it out. */
  keyUse?: 'sig' | 'jwt-svid' | null;
  workloads?: Workload[];
}

export interface PlatformIssuer {
  issuer: string;
  /**
   * Where workloads get their tokens: `POST {audience}` or, as on GitHub, `GET ?audience=`; Bearer request
   * token; answers `{value}`.
   */
  tokenUrl: string;
  /**
   * A token with these claims over the usual ones (`iss`, `iat`, `exp`, `jti`), or one that is wrong on
   * purpose.
   */
  mint(claims: JsonObject, options?: MintOptions): Promise<string>;
  /** Signs with a new key from now on. The old one stays published only with `keepOld`. */
  rotate(options?: { keepOld?: boolean }): Promise<void>;
  behave(mood: IssuerMood): void;
  /** Times the key set was asked for. */
  keyRequests(): number;
  close(): Promise<void>;
}

interface Key {
  kid: string;
  privateKey: CryptoKey;
  publicKey: CryptoKey;
  published: JWK;
}

const maxBody = 4_096;

/** Starts the issuer on 127.0.0.1. */
export async function startPlatformIssuer(options: PlatformIssuerOptions): Promise<PlatformIssuer> {
  const { clock, algorithm = 'RS256', keyUse = 'sig', workloads = [] } = options;
  let current = await newKey(algorithm, keyUse);
  let published = [current];
  let mood: IssuerMood = 'well';
  let keyRequests = 0;

  const server = createServer((request, response) => {
    answer(request, response).catch(() => {
      if (!response.headersSent) response.writeHead(500);
      response.end();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const mint = async (claims: JsonObject, how: MintOptions = {}): Promise<string> => {
    const now = Math.floor(clock.now().getTime() / 1000);
    const payload: JsonObject = {
      iss: issuer,
      iat: now,
      exp: now + (how.lifetimeSeconds ?? 300),
      jti: randomBytes(12).toString('base64url'),
      ...claims,
    };
    for (const claim of how.without ?? []) delete payload[claim];
    const header = { alg: algorithm, kid: current.kid, typ: 'JWT', ...how.header };
    if (how.forge !== undefined) return forge(how.forge, header, payload, current);
    return new SignJWT(payload).setProtectedHeader(header).sign(current.privateKey);
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const url = new URL(request.url ?? '/', issuer);
    if (url.pathname === '/token') return giveToken(request, response, url);
    if (url.pathname === '/keys') keyRequests += 1;
    if (mood === 'slow') return;
    if (mood === 'outage') return send(response, 503, { error: 'unavailable' });
    if (mood === 'redirect' && !url.searchParams.has('moved')) {
      response.writeHead(302, { location: `${issuer}${url.pathname}?moved` }).end();
      return;
    }
    if (mood === 'not_json') return send(response, 200, '<html>');
    const padding = mood === 'huge' ? { padding: 'x'.repeat(1024 * 1024) } : {};
    if (url.pathname === '/keys') {
      return send(response, 200, { keys: published.map((key) => key.published), ...padding });
    }
    if (url.pathname === '/.well-known/openid-configuration') {
      return send(response, 200, {
        issuer: mood === 'impostor' ? 'https://issuer.invalid' : issuer,
        jwks_uri: `${issuer}/keys`,
        response_types_supported: ['id_token'],
        subject_types_supported: ['public'],
        id_token_signing_alg_values_supported: [algorithm],
      });
    }
    if (url.pathname === '/.well-known/ssf-configuration') {
      return send(response, 200, {
        issuer: mood === 'impostor' ? 'https://issuer.invalid' : issuer,
        jwks_uri: `${issuer}/keys`,
        delivery_methods_supported: ['urn:ietf:rfc:8935', 'urn:ietf:rfc:8936'],
      });
    }
    send(response, 404, { error: 'not_found' });
  };

  const giveToken = async (request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> => {
    const offered = /^bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
    const workload = workloads.find((known) => sameSecret(known.requestToken, offered));
    if (workload === undefined) return send(response, 401, { error: 'unknown_request_token' });
    const audience = request.method === 'POST' ? await audienceInBody(request) : url.searchParams.get('audience');
    if (typeof audience !== 'string' || audience === '') return send(response, 400, { error: 'audience_missing' });
    send(response, 200, { value: await mint({ ...workload.claims, aud: audience }) });
  };

  return {
    issuer,
    tokenUrl: `${issuer}/token`,
    mint,
    rotate: async ({ keepOld = false } = {}) => {
      current = await newKey(algorithm, keyUse);
      published = keepOld ? [...published, current] : [current];
    },
    behave: (next) => {
      mood = next;
    },
    keyRequests: () => keyRequests,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function newKey(algorithm: IssuerAlgorithm, use: string | null): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true });
  const kid = randomBytes(6).toString('hex');
  const jwk = await exportJWK(publicKey);
  return { kid, privateKey, publicKey, published: { ...jwk, kid, alg: algorithm, ...(use === null ? {} : { use }) } };
}

async function forge(
  how: Forgery,
  header: JsonObject & { alg: string },
  payload: JsonObject,
  key: Key,
): Promise<string> {
  const encode = (value: unknown) => base64url.encode(JSON.stringify(value));
  if (how === 'alg_none') return `${encode({ ...header, alg: 'none' })}.${encode(payload)}.`;
  if (how === 'hs256_with_public_key') {
    // The classic confusion: the public key, known to everybody, used as a shared secret.
    const secret = new TextEncoder().encode(await exportSPKI(key.publicKey));
    return new SignJWT(payload).setProtectedHeader({ ...header, alg: 'HS256' }).sign(secret);
  }
  if (how === 'foreign_key') {
    const { privateKey } = await generateKeyPair(header.alg);
    return new SignJWT(payload).setProtectedHeader(header).sign(privateKey);
  }
  const [head, , signature] = (await new SignJWT(payload).setProtectedHeader(header).sign(key.privateKey)).split('.');
  return `${head}.${encode({ ...payload, sub: 'somebody-else' })}.${signature}`;
}

async function audienceInBody(request: IncomingMessage): Promise<unknown> {
  let body = '';
  for await (const chunk of request) {
    body += chunk;
    if (body.length > maxBody) return null;
  }
  try {
    return (JSON.parse(body) as { audience?: unknown } | null)?.audience;
  } catch {
    return null;
  }
}

function sameSecret(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}
