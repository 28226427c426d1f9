/**
 * One request to the broker: proof, retries where a repetition is harmless, and every error as a `WritError`.
 */
import type { Clock } from './clock.ts';
import { type DpopKey, dpopProof } from './dpop.ts';
import { type DenialReason, type NearestRequest, type Problem, WritDenied, WritError } from './errors.ts';

/** What all requests to one broker share. */
export interface Connection {
  /** The broker's issuer URL, without a final slash. */
  url: string;
  fetch: typeof fetch;
  clock: Clock;
  /** The server's latest nonce (RFC 9449 section 8.2). */
  nonce?: string;
}

export interface Call {
  method: 'GET' | 'POST';
  /** With its query. */
  path: string;
  json?: unknown;
  form?: URLSearchParams;
  headers?: { [name: string]: string };
  /** Read anew at each attempt: a heartbeat may have brought the next token in between. */
  token?: () => { scheme: 'DPoP' | 'Bearer'; token: string };
  key?: DpopKey | null;
  /** The same request twice does no more than once: lost answers and 503s are tried again. */
  repeatable: boolean;
  /** Added to the time the broker is given to answer. */
  waitSeconds?: number;
  signal?: AbortSignal | undefined;
}

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: JSON of the broker; each reader checks what it takes
  body: any;
  headers: Headers;
  /** More than one: an earlier attempt may have been carried out without our hearing of it. */
  attempts: number;
}

const maxAttempts = 4;
const answerSeconds = 60;
const longestPauseMs = 30_000;

/** @throws WritError, or the signal's reason when it aborts */
export async function send(connection: Connection, call: Call): Promise<Answer> {
  let nonceAsked = false;
  for (let attempt = 1; ; attempt += 1) {
    const last = !call.repeatable || attempt >= maxAttempts;
    let response: Response;
    let text: string;
    try {
      response = await attemptOnce(connection, call);
      text = await response.text();
    } catch (cause) {
      call.signal?.throwIfAborted();
      const fault = certificateFault(cause);
      if (fault !== null)
        throw new WritError(
          'network',
          `The certificate of the broker at ${connection.url} is not trusted (${fault}). NODE_EXTRA_CA_CERTS names a private authority`,
          { cause },
        );
      if (last) throw new WritError('network', `The broker at ${connection.url} did not answer`, { cause });
      await pause(connection.clock, attempt, undefined, call.signal);
      continue;
    }
    const nonce = response.headers.get('dpop-nonce');
    if (nonce !== null) connection.nonce = nonce;
    const body = parse(text);
    if (response.ok) {
      if (text !== '' && body === undefined) throw new WritError('bad_answer', 'The broker’s answer is not JSON');
      return { status: response.status, body, headers: response.headers, attempts: attempt };
    }
    if (!nonceAsked && nonce !== null && asksForNonce(response, body)) {
      nonceAsked = true;
      continue;
    }
    const error = errorOf(response, body);
    if (last || !worthAnotherTry(error)) throw error;
    // Told to wait longer than a call may take: whoever called decides, and nobody asks sooner than told.
    if ((error.retryAfterSeconds ?? 0) * 1000 > longestPauseMs) throw error;
    await pause(connection.clock, attempt, error.retryAfterSeconds, call.signal);
  }
}

/** Of Node's TLS, among an error and its causes: waiting mends none of these. */
function certificateFault(error: unknown): string | null {
  const codes =
    /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(_LOCALLY)?)|CERT_[A-Z_]+|ERR_TLS_CERT_ALTNAME_INVALID)$/;
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth += 1) {
    const { code } = at as { code?: unknown };
    if (typeof code === 'string' && codes.test(code)) return code;
  }
  return null;
}

async function attemptOnce({ url: base, fetch, clock, nonce }: Connection, call: Call): Promise<Response> {
  const url = base + call.path;
  const auth = call.token?.();
  const headers: { [name: string]: string } = { accept: 'application/json', ...call.headers };
  if (auth !== undefined) headers.authorization = `${auth.scheme} ${auth.token}`;
  if (call.key != null) {
    headers.dpop = await dpopProof(call.key, {
      method: call.method,
      url,
      now: clock.now(),
      ...(auth === undefined ? {} : { accessToken: auth.token }),
      ...(nonce === undefined ? {} : { nonce }),
    });
  }
  if (call.json !== undefined) headers['content-type'] = 'application/json';
  const body = call.form ?? (call.json === undefined ? undefined : JSON.stringify(call.json));
  const timeout = AbortSignal.timeout((answerSeconds + (call.waitSeconds ?? 0)) * 1000);
  return fetch(url, {
    method: call.method,
    headers,
    // A redirect would carry the token to wherever it points.
    redirect: 'error',
    signal: call.signal === undefined ? timeout : AbortSignal.any([timeout, call.signal]),
    ...(body === undefined ? {} : { body }),
  });
}

/** RFC 9449 section 8: the resource server says it in WWW-Authenticate, the token endpoint as `error`. */
function asksForNonce(response: Response, body: unknown): boolean {
  if (response.status === 401) return /error="use_dpop_nonce"/.test(response.headers.get('www-authenticate') ?? '');
  return response.status === 400 && (body as { error?: unknown } | undefined)?.error === 'use_dpop_nonce';
}

/**
 * 503 without the provider's hand in it: nothing was decided. What a provider failed at has been recorded,
 * and spent a grant; asking again is the agent's choice.
 */
function worthAnotherTry(error: WritError): boolean {
  return error.status === 503 && error.code !== 'provider_unavailable';
}

async function pause(clock: Clock, attempt: number, retryAfterSeconds: number | undefined, signal?: AbortSignal) {
  const backoff = 200 * 2 ** attempt * (0.5 + Math.random() / 2);
  await clock.sleep(
    Math.min(longestPauseMs, retryAfterSeconds === undefined ? backoff : retryAfterSeconds * 1000),
    signal,
  );
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const errorOf = (response: Response, body: unknown): WritError =>
  refusal(response.status, body, response.headers.get('retry-after'));

/** The broker's problem document, as it is thrown. */
export function refusal(status: number, body: unknown, retryAfterHeader: string | null = null): WritError {
  const problem = (typeof body === 'object' && body !== null ? body : {}) as Problem & {
    reasons?: DenialReason[];
    nearest?: NearestRequest;
    grant_id?: string;
  };
  // A proxy may have taken the header away.
  const told = retryAfterHeader ?? problem.retry_after_seconds;
  const retryAfter = told === undefined ? Number.NaN : Number(told);
  const options = {
    status,
    problem,
    ...(Number.isFinite(retryAfter) ? { retryAfterSeconds: retryAfter } : {}),
    ...(typeof problem.grant_id === 'string' ? { grantId: problem.grant_id } : {}),
  };
  const code = problem.code ?? (status === 503 ? 'unavailable' : 'bad_answer');
  if (code === 'denied') return new WritDenied(problem.reasons ?? [], problem.nearest, options);
  const fields = (problem.errors ?? []).map(({ path, message }) => `${path} ${message}`.trim()).join('; ');
  const said = [problem.detail ?? problem.title ?? `The broker answered ${status}`, fields];
  return new WritError(code, said.filter((part) => part !== '').join(': '), options);
}
