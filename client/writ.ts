/**
 * Opens sessions: exchanges a platform token, or an assertion signed with the agent's own key, for a session
 * bound to one task.
 */
import { type Clock, systemClock } from './clock.ts';
import { newDpopKey } from './dpop.ts';
import { WritError } from './errors.ts';
import { type ClientKey, clientAssertion, type SubjectToken } from './identity.ts';
import { type Envelope, envelopeOf, open, type Session } from './session.ts';

interface Task {
  /** The broker's issuer URL: https, or http on loopback. */
  url: string;
  /** A task type of the agent's manifest. The session is bound to it for good. */
  taskType: string;
  /** The inputs that task type requires. */
  inputs?: { [name: string]: string | number | boolean };
  /** Whom the run is for, e.g. `user:owner@example.com`. That person can never approve it. */
  onBehalfOf?: string;
  envelope?: Envelope;
  /**
   * Calls that no rule of the manifest looks at are made without asking, by a snapshot that the broker signs,
   * and reported afterwards. Default false: every call is asked for.
   */
  offline?: boolean;
  /**
   * Default true: the session is bound to a key that never leaves this process. False: a plain bearer token.
   */
  dpop?: boolean;
  /** For proxies, client certificates and tests. */
  fetch?: typeof fetch;
  clock?: Clock;
}

export type OpenSessionOptions = Task &
  ({ subjectToken: SubjectToken; clientKey?: never } | { clientKey: ClientKey; subjectToken?: never });

/** `resume` is what the session gave when it fell asleep. */
export type ResumeSessionOptions = Pick<Task, 'url' | 'offline' | 'dpop' | 'fetch' | 'clock'> & { resume: string } & (
    | { subjectToken: SubjectToken; clientKey?: never }
    | { clientKey: ClientKey; subjectToken?: never }
  );

const clientAssertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/**
 * Opens a session.
 *
 * @throws WritError `invalid_grant`, `invalid_client`, `invalid_authorization_details`, `no_identity`,
 *   `insecure_url`, `network` …
 * @example
 * await using session = await Writ.openSession({
 *   url: 'https://writ.example.com',
 *   subjectToken: githubActionsToken(),
 *   taskType: 'answer-invoice-question',
 *   inputs: { customer_id: '42' },
 * });
 * const s3 = new S3Client({ credentials: awsCredentials(session, 'read-customer-files') });
 */
async function openSession(options: OpenSessionOptions): Promise<Session> {
  const url = brokerUrl(options.url);
  const clock = options.clock ?? systemClock;
  const connection = { url, clock, fetch: options.fetch ?? fetch };
  const detail = {
    type: 'task',
    task_type: options.taskType,
    inputs: options.inputs ?? {},
    ...(options.onBehalfOf === undefined ? {} : { on_behalf_of: options.onBehalfOf }),
    ...envelopeOf(options.envelope),
  };
  const form = { ...(await whoFor(options, url, clock)), authorization_details: JSON.stringify([detail]) };
  const key = options.dpop === false ? null : await newDpopKey();
  return open(connection, form, { sign: key, bind: key }, options.offline);
}

/**
 * Wakes a session that sleeps: for the workload that opened it, by a fresh token or assertion. It is bound to
 * a new key of this process.
 *
 * @throws WritError `invalid_grant` (it has ended, or is somebody else's), `locked` …
 */
async function resumeSession(options: ResumeSessionOptions): Promise<Session> {
  const url = brokerUrl(options.url);
  const clock = options.clock ?? systemClock;
  const connection = { url, clock, fetch: options.fetch ?? fetch };
  const form = { ...(await whoFor(options, url, clock)), resume: options.resume };
  const key = options.dpop === false ? null : await newDpopKey();
  return open(connection, form, { sign: key, bind: key }, options.offline);
}

async function whoFor(
  options: Pick<OpenSessionOptions, 'clientKey' | 'subjectToken'>,
  url: string,
  clock: Clock,
): Promise<{ [name: string]: string }> {
  if (options.clientKey !== undefined) {
    return {
      grant_type: 'client_credentials',
      client_id: options.clientKey.clientId,
      client_assertion_type: clientAssertionType,
      client_assertion: await clientAssertion(options.clientKey, url, clock.now()),
    };
  }
  const { subjectToken } = options;
  const token = typeof subjectToken === 'function' ? await subjectToken(url) : subjectToken;
  if (typeof token !== 'string' || token === '') {
    throw new WritError('no_identity', 'Give a subjectToken or a clientKey to open a session with');
  }
  return {
    grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
    subject_token: token,
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
  };
}

/** Tokens and credentials travel there: plain http only where it does not leave the machine. */
function brokerUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const local = url !== null && /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(url.hostname);
  if (url === null || !(url.protocol === 'https:' || (url.protocol === 'http:' && local))) {
    throw new WritError('insecure_url', 'The broker’s URL must be https (http is for loopback only)');
  }
  return url.origin + url.pathname.replace(/\/+$/, '');
}

export const Writ = { openSession, resumeSession };
