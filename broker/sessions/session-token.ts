/**
 * The session token: a JWT access token (RFC 9068, `typ: at+jwt`, ES256). It says which session; what that
 * session may do is in the database and is read on every call, so ending a session ends its tokens at once,
 * whatever their `exp`.
 */
import { hash } from 'node:crypto';
import { decodeProtectedHeader, jwtVerify } from 'jose';
import { WritError } from '../core/errors.ts';
import type { Clock } from '../core/vocabulary.ts';
import { signEs256 } from '../keys/es256.ts';
import type { KeyRing, SigningKey } from '../keys/ring.ts';

/** RFC 8693 section 4.1: the current actor outermost, those it acts for within. */
export interface ActorChain {
  sub: string;
  act?: ActorChain;
}

export interface SessionClaims {
  sessionId: string;
  agent: string;
  /** Thumbprint of the DPoP key the token is bound to (RFC 9449 section 6); null = bearer. */
  jkt: string | null;
  /** The key that signed it: the next read says whether it was withdrawn. */
  kid: string;
  expiresAt: Date;
}

export interface MintedToken {
  access_token: string;
  token_type: 'DPoP' | 'Bearer';
  /** Seconds until the client should have the next one. */
  expires_in: number;
}

export interface SessionTokens {
  mint(session: {
    id: string;
    agent: string;
    taskType: string;
    jkt: string | null;
    act: ActorChain | null;
    expiresAt: Date;
  }): Promise<MintedToken>;
  /**
   * @throws WritError `unauthenticated` for anything but a current token of ours; `unavailable` when its key
   *   cannot be looked up
   */
  verify(token: string): Promise<SessionClaims>;
}

/**
 * A verified signature is not verified again until the token expires: ES256 is a large part of a call's CPU
 * (docs/performance.md). The session's state still is, every time.
 */
const cacheLimit = 10_000;

/** Minimum time between two reads of the ring: a key is published long before it signs. */
const reloadCooldownMs = 5_000;

/**
 * @param tokenSeconds lifetime of one token; never past the end of its session
 * @param unheardSeconds how long a session lives after its last call: a client that counts on `expires_in`
 *   must not find it ended. The token itself holds longer, so that its holder may still read what became of
 *   it
 */
export function createSessionTokens(
  ring: KeyRing,
  clock: Clock,
  issuer: string,
  tokenSeconds: number,
  unheardSeconds = tokenSeconds,
): SessionTokens {
  // Two generations: when the young one is full it replaces the old one. Eviction needs no search.
  let young = new Map<string, SessionClaims>();
  let old = new Map<string, SessionClaims>();
  const nameOf = (token: string) => hash('sha256', token, 'base64url');
  function remember(name: string, claims: SessionClaims): void {
    if (young.size >= cacheLimit / 2) [young, old] = [new Map(), young];
    young.set(name, claims);
  }

  // Anybody can make up a key id, so reads of the database are limited by time. Requests in between share the
  // last answer, an outage included.
  let reload = { at: Number.NEGATIVE_INFINITY, done: Promise.resolve() };
  async function findKey(kid: string): Promise<SigningKey | undefined> {
    const known = ring.find(kid);
    if (known !== undefined) return known;
    const now = clock.now().getTime();
    if (now >= reload.at + reloadCooldownMs) reload = { at: now, done: ring.reload() };
    await reload.done.catch((cause) => {
      throw new WritError('unavailable', { retryAfterSeconds: 5, cause });
    });
    return ring.find(kid);
  }

  async function verifySignature(token: string): Promise<SessionClaims> {
    const { kid } = decodeProtectedHeader(token);
    if (kid === undefined) throw new Error('no kid');
    const key = await findKey(kid);
    if (key === undefined) throw new Error('unknown kid');
    const { payload } = await jwtVerify(token, key.publicKey, {
      issuer,
      audience: issuer,
      typ: 'at+jwt',
      algorithms: ['ES256'],
      requiredClaims: ['exp', 'iat', 'sub', 'jti', 'client_id', 'sid'],
      currentDate: clock.now(),
    });
    return {
      sessionId: String(payload.sid),
      agent: String(payload.client_id),
      jkt: (payload.cnf as { jkt?: string } | undefined)?.jkt ?? null,
      kid,
      expiresAt: new Date(payload.exp! * 1000),
    };
  }

  return {
    mint: async (session) => {
      const now = Math.floor(clock.now().getTime() / 1000);
      const exp = Math.min(now + tokenSeconds, Math.floor(session.expiresAt.getTime() / 1000));
      const key = ring.current();
      const header = { alg: 'ES256', typ: 'at+jwt', kid: key.kid };
      const claims = {
        iss: issuer,
        aud: issuer,
        sub: session.agent,
        iat: now,
        exp,
        jti: crypto.randomUUID(),
        sid: session.id,
        client_id: session.agent,
        task_type: session.taskType,
        ...(session.act === null ? {} : { act: session.act }),
        ...(session.jkt === null ? {} : { cnf: { jkt: session.jkt } }),
      };
      const input = `${encode(header)}.${encode(claims)}`;
      const token = `${input}.${signEs256(input, key.privateKey).toString('base64url')}`;
      // What was signed here just now need not be verified here.
      remember(nameOf(token), {
        sessionId: session.id,
        agent: session.agent,
        jkt: session.jkt,
        kid: key.kid,
        expiresAt: new Date(exp * 1000),
      });
      return {
        access_token: token,
        token_type: session.jkt === null ? 'Bearer' : 'DPoP',
        expires_in: Math.min(exp - now, unheardSeconds),
      };
    },
    verify: async (token) => {
      const name = nameOf(token);
      const known = young.get(name) ?? old.get(name);
      const now = clock.now();
      if (known !== undefined) {
        if (known.expiresAt > now && ring.find(known.kid) !== undefined) return known;
        throw new WritError('unauthenticated');
      }
      try {
        const claims = await verifySignature(token);
        remember(name, claims);
        return claims;
      } catch (cause) {
        throw cause instanceof WritError ? cause : new WritError('unauthenticated', { cause });
      }
    },
  };
}

const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
