/** A session: one run of one task. It holds the token and the key, keeps itself alive, and ends. */
import './dispose.ts';
import { type Capability, readCapabilities } from './capabilities.ts';
import type { CredentialOf, CredentialType } from './credentials.ts';
import { type CallApproval, type CallDecision, readApproval } from './decision.ts';
import { type DpopKey, newDpopKey } from './dpop.ts';
import { WritError } from './errors.ts';
import {
  type CollectOptions,
  collectGrant,
  type Grant,
  type GrantOptions,
  type GrantParams,
  type GrantRequest,
  type GrantsOptions,
  requestGrant,
  requestGrants,
} from './grant.ts';
import { keepAlive, type Rhythm } from './heartbeat.ts';
import { type Answer, type Call, type Connection, send } from './http.ts';
import { type EndReason, newLifetime, type SessionEnd } from './lifetime.ts';
import { goOffline, type Offline } from './offline.ts';
import { type Overview, readOverview } from './overview.ts';
import {
  type AllowedCall,
  allowedDecision,
  type CallableTool,
  type CallOptions,
  type CallReport,
  evaluateCall,
  finishCall,
} from './tools.ts';

/** Narrower bounds than the manifest's. */
export interface Envelope {
  wallTimeSeconds?: number;
  maxGrants?: number;
}

/** A session that sleeps. */
export interface Asleep {
  /** `resume` of `Writ.resumeSession`. Names the session; of use to the same workload alone. */
  resume: string;
  /** It ends then, unless it is resumed. */
  until: Date;
}

export interface Session {
  readonly id: string;
  /** Nothing lives longer than this. */
  readonly expiresAt: Date;
  /** Resolves when the session has ended, whoever ended it. Never rejects. */
  readonly ended: Promise<SessionEnd>;
  /** Aborted at that moment: hand it to whatever must stop with the session. */
  readonly signal: AbortSignal;

  /**
   * Asks for a capability; resolves with the credential, after a person's approval where one is needed.
   * @throws WritDenied, WritError
   * @example
   * const grant = await session.grant('read-customer-files', {}, { type: 'aws', ttlSeconds: 600 });
   * grant.credential.accessKeyId;
   */
  grant<T extends CredentialType = CredentialType>(
    capability: string,
    params?: GrantParams,
    options?: GrantOptions<T>,
  ): Promise<Grant<CredentialOf<T>>>;

  /**
   * Asks for all that one task needs at once, at most sixteen. What needs the same people is put to them
   * together: they decide once, and may take single ones out. Resolves when each has an outcome.
   * @throws WritError where none of them was answered
   * @example
   * const [files, repository] = await session.grantAll([
   *   { capability: 'read-customer-files' },
   *   { capability: 'read-repository', justification: 'To compare them.' },
   * ]);
   * if (files.status === 'fulfilled') files.value.credential;
   */
  grantAll(requests: readonly GrantRequest[], options?: GrantsOptions): Promise<PromiseSettledResult<Grant>[]>;

  /**
   * Collects a grant that was asked for before, by this process or by the one before it, once a person has
   * approved it.
   * @throws WritDenied; WritError: `approval_timeout` when it still waits after `waitSeconds`
   */
  collect<T extends CredentialType = CredentialType>(
    grantId: string,
    options?: CollectOptions<T>,
  ): Promise<Grant<CredentialOf<T>>>;

  /**
   * Lets the session sleep while people decide, where its manifest says so (`envelope.sleep`): what it holds
   * is revoked, what waits for people waits on. It is over for this process; `Writ.resumeSession` goes on.
   */
  sleep(options?: { seconds?: number }): Promise<Asleep>;

  /**
   * A session of its own for a sub-agent: the same task, fewer capabilities, a sooner end, another key. It
   * ends with this one. The grants it may ask for are taken from this session's: all that are left, unless
   * `maxGrants` says fewer.
   * @example
   * const envelope = { wallTimeSeconds: 60, maxGrants: 2 };
   * await using reader = await session.child({ capabilities: ['read-customer-files'], envelope });
   */
  child(options: { capabilities: string[]; envelope?: Envelope }): Promise<Session>;

  /**
   * Asks whether a tool may be called now; where a person must agree to the call, waits for them. `withWrit`
   * does it for tools of the common libraries.
   * @throws WritDenied, WritError
   * @example
   * const call = await session.call('send_mail', { to: 'a@example.com' });
   * await call.finish({ outcome: 'response', output: await sendMail('a@example.com') });
   */
  call(tool: string, args?: { [name: string]: unknown }, options?: CallOptions): Promise<AllowedCall>;

  /**
   * The decision on a call as it came, for hosts that enforce it themselves: nothing is waited for, and a
   * denial is not thrown. Ask again with the same `callId` once a person has agreed.
   * @throws WritError
   */
  evaluate(tool: string, args?: { [name: string]: unknown }, options?: CallOptions): Promise<CallDecision>;

  /** Reports how a call came out that `evaluate` allowed. @throws WritError */
  finish(actionId: string, report: CallReport): Promise<void>;

  /**
   * A person's decision on a call, as it is now, or after `waitSeconds` (at most 60).
   * @throws WritError
   */
  approval(id: string, options?: { waitSeconds?: number; signal?: AbortSignal | undefined }): Promise<CallApproval>;

  /**
   * Reports what the person said: values in their own words are trusted. Never pass on what a model or a tool
   * wrote.
   * @returns how many of the words are trusted
   * @throws WritError
   */
  say(words: string): Promise<number>;

  /** The tools that may be called now: what a model may be shown. */
  tools(): Promise<CallableTool[]>;

  /** What the session may ask for, by the manifest in force now, and what is left of it. */
  capabilities(): Promise<Capability[]>;

  /** The session, its grants and leases, as the broker has them now. */
  overview(): Promise<Overview>;

  /**
   * Ends the session: everything it held is revoked. Ending it again changes nothing.
   * @param options waitSeconds: wait so long, at most (60), until every lease is settled
   */
  end(options?: { waitSeconds?: number }): Promise<Overview>;

  /** `await using session = …` ends it when the block is left. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The token endpoint's answer. */
interface TokenAnswer {
  access_token: string;
  token_type: 'DPoP' | 'Bearer';
  expires_in: number;
  session_id: string;
  session_expires_at: string;
  heartbeat_seconds: number;
}

const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';

/**
 * One token request, and the session it opens.
 * @param form without what concerns keys; `sign` proves the request, `bind` is the key the session is bound
 *   to (the same, except for children)
 * @param offline whether calls may be made by a snapshot, without asking
 */
export async function open(
  connection: Connection,
  form: { [name: string]: string },
  keys: { sign: DpopKey | null; bind: DpopKey | null },
  offline = false,
): Promise<Session> {
  const jkt = keys.bind !== null && keys.bind !== keys.sign ? { dpop_jkt: keys.bind.thumbprint } : {};
  const { body } = await send(connection, {
    method: 'POST',
    path: '/oauth/token',
    form: new URLSearchParams({ ...form, ...jkt }),
    key: keys.sign,
    // The platform's token is good for one session: sent twice, it is a replay.
    repeatable: false,
  });
  const wanted = keys.bind === null ? 'Bearer' : 'DPoP';
  if (typeof body?.access_token !== 'string' || body.token_type !== wanted) {
    throw new WritError('bad_answer', `The broker gave no ${wanted} token`);
  }
  return createSession(connection, body, keys.bind, offline);
}

async function createSession(
  connection: Connection,
  opened: TokenAnswer,
  key: DpopKey | null,
  offline: boolean,
): Promise<Session> {
  const { clock } = connection;
  const lifetime = newLifetime();
  let token = { scheme: opened.token_type, token: opened.access_token };
  let expiresAt = new Date(opened.session_expires_at);

  const call = async (request: Omit<Call, 'token' | 'key'>): Promise<Answer> => {
    try {
      return await send(connection, { ...request, token: () => token, key });
    } catch (error) {
      if (error instanceof WritError && /^session_/.test(error.code)) unasked?.drop();
      if (error instanceof WritError) await noticeEnd(error);
      throw error;
    }
  };

  /** Without a token that holds there is no way back: it can only be refreshed with itself. */
  const noticeEnd = async ({ code }: WritError) => {
    if (code !== 'session_ended' && code !== 'unauthenticated') return;
    if (lifetime.signal.aborted) return;
    lifetime.end(clock.now() >= expiresAt ? 'envelope_spent' : await endReason());
  };

  const endReason = async (): Promise<EndReason> => {
    const look: Call = { method: 'GET', path: '/v1/session?limit=1', token: () => token, key, repeatable: false };
    const seen = await send(connection, look).catch(() => null);
    return seen?.body.session?.end_reason ?? 'unknown';
  };

  const endReasonIfEnded = async () => {
    const reason = await endReason();
    if (reason !== 'unknown') lifetime.end(reason);
  };

  const beat = async (): Promise<Rhythm> => {
    const { signal } = lifetime;
    const { body } = await call({ method: 'POST', path: '/v1/session/heartbeat', repeatable: true, signal });
    token = { scheme: body.token_type, token: body.access_token };
    expiresAt = new Date(body.session_expires_at);
    return { heartbeatSeconds: body.heartbeat_seconds, expiresIn: body.expires_in };
  };
  let unasked: Offline | null = null;
  const withoutAsking = (): Offline => {
    unasked ??= goOffline({
      clock,
      send: call,
      issuer: connection.url,
      sessionId: opened.session_id,
      signal: lifetime.signal,
      restrained: (effect) => {
        if (effect === 'terminate' && !lifetime.signal.aborted) void endReasonIfEnded();
      },
    });
    return unasked;
  };
  // Whoever ended it: what was called before is still reported.
  void lifetime.ended.then(() => unasked?.flush());

  const rhythm = { heartbeatSeconds: opened.heartbeat_seconds, expiresIn: opened.expires_in };
  void keepAlive(clock, rhythm, beat, lifetime.signal);

  const page = async (after: string | null) => {
    const path = `/v1/session?limit=500${after === null ? '' : `&after=${encodeURIComponent(after)}`}`;
    return (await call({ method: 'GET', path, repeatable: true })).body;
  };

  /**
   * All pages, from this first one on. The broker bounds what a session may ask for, and with it their
   * number.
   */
  // biome-ignore lint/suspicious/noExplicitAny: the broker's JSON
  const whole = async (first: any): Promise<Overview> => {
    const seen = readOverview(first);
    for (let { next } = first; typeof next === 'string'; ) {
      const more = await page(next);
      const { grants, leases } = readOverview(more);
      seen.grants.push(...grants);
      seen.leases.push(...leases);
      if (more.next === next) throw new WritError('bad_answer', 'The broker gave the same page twice');
      next = more.next;
    }
    return seen;
  };

  const session: Session = {
    id: opened.session_id,
    get expiresAt() {
      return expiresAt;
    },
    ended: lifetime.ended,
    signal: lifetime.signal,
    grant: (capability, params, options = {}) => {
      const signals = options.signal === undefined ? [lifetime.signal] : [lifetime.signal, options.signal];
      const deps = { clock, call, sleep: () => session.sleep() };
      return requestGrant(deps, capability, params, { ...options, signal: AbortSignal.any(signals) });
    },
    grantAll: (requests, options = {}) => {
      const signals = options.signal === undefined ? [lifetime.signal] : [lifetime.signal, options.signal];
      const deps = { clock, call, sleep: () => session.sleep() };
      return requestGrants(deps, requests, { ...options, signal: AbortSignal.any(signals) });
    },
    collect: (grantId, options = {}) => {
      const signals = options.signal === undefined ? [lifetime.signal] : [lifetime.signal, options.signal];
      const deps = { clock, call, sleep: () => session.sleep() };
      return collectGrant(deps, grantId, { ...options, signal: AbortSignal.any(signals) });
    },
    sleep: async (options = {}) => {
      await unasked?.flush();
      // Asked again it gives another handle: a lost one is of no use to anybody.
      const { body } = await call({ method: 'POST', path: '/v1/session/sleep', json: options, repeatable: true });
      lifetime.end('asleep');
      return { resume: body.resume, until: new Date(body.until) };
    },
    child: async ({ capabilities, envelope }) => {
      const form = {
        grant_type: tokenExchange,
        subject_token: token.token,
        subject_token_type: accessTokenType,
        authorization_details: JSON.stringify([{ type: 'task', capabilities, ...envelopeOf(envelope) }]),
      };
      const child = await open(
        connection,
        form,
        { sign: key, bind: key === null ? null : await newDpopKey() },
        offline,
      );
      return endsWith(child, lifetime.ended);
    },
    call: async (tool, args = {}, options = {}) => {
      const made = (options.offline ?? offline) ? withoutAsking().call(tool, args, options) : undefined;
      if (made !== undefined) return made;
      const { id } = await allowedDecision({ clock, ...session }, tool, args, options);
      return { id, finish: (report) => session.finish(id, report) };
    },
    evaluate: async (tool, args = {}, options = {}) => {
      const decision = await evaluateCall(call, { type: 'session', id: opened.session_id }, tool, args, options);
      // Whoever waits for the session's end should know of it.
      if (decision.effect === 'terminate' && !lifetime.signal.aborted) void endReasonIfEnded();
      return decision;
    },
    finish: (actionId, report) => finishCall(call, actionId, report),
    approval: async (id, { waitSeconds = 0, signal } = {}) => {
      const path = `/v1/grants/${encodeURIComponent(id)}?wait=${waitSeconds}`;
      const { body } = await call({ method: 'GET', path, repeatable: true, waitSeconds, signal });
      return readApproval(body);
    },
    say: async (text) =>
      (await call({ method: 'POST', path: '/v1/session/words', json: { text }, repeatable: true })).body.words,
    tools: async () => (await call({ method: 'GET', path: '/v1/tools', repeatable: true })).body.tools,
    capabilities: async () =>
      readCapabilities((await call({ method: 'GET', path: '/v1/capabilities', repeatable: true })).body),
    overview: async () => whole(await page(null)),
    end: async ({ waitSeconds = 0 } = {}) => {
      const path = `/v1/session/end?wait=${waitSeconds}&limit=500`;
      const ending = () => call({ method: 'POST', path, repeatable: true, waitSeconds });
      await unasked?.flush();
      try {
        // Ending twice changes nothing, so a 500 too is worth another try.
        const { body } = await ending().catch((error) => {
          if (error instanceof WritError && error.status === 500) return ending();
          throw error;
        });
        return await whole(body);
      } finally {
        // Stop heartbeats whatever the broker answered: they would keep an unwanted session alive. Without
        // them it ends at its deadline.
        lifetime.end('ended_by_agent');
      }
    },
    [Symbol.asyncDispose]: async () => {
      if (!lifetime.signal.aborted) await session.end();
    },
  };
  endings.set(session, lifetime.end);
  if (offline) await withoutAsking().ready;
  return session;
}

/** How a parent tells its children of its end; no part of the public interface. */
const endings = new WeakMap<Session, (reason: EndReason) => void>();

function endsWith(child: Session, parent: Promise<SessionEnd>): Session {
  void parent.then(() => endings.get(child)?.('parent_ended'));
  return child;
}

/** An envelope in the broker's words; nothing when it narrows nothing. */
export function envelopeOf(envelope: Envelope | undefined): { envelope?: { [name: string]: number } } {
  if (envelope === undefined) return {};
  const { wallTimeSeconds, maxGrants } = envelope;
  return {
    envelope: {
      ...(wallTimeSeconds === undefined ? {} : { wall_time_seconds: wallTimeSeconds }),
      ...(maxGrants === undefined ? {} : { max_grants: maxGrants }),
    },
  };
}
