/**
 * STS and IAM clients. In web identity mode no key is held: the broker's own token is the proof, and revoking
 * uses a short session of the revoke role.
 */
import { IAMClient } from '@aws-sdk/client-iam';
import {
  AssumeRoleCommand,
  type AssumeRoleCommandInput,
  type AssumeRoleResponse,
  AssumeRoleWithWebIdentityCommand,
  STSClient,
} from '@aws-sdk/client-sts';
import { askDate, type ObservedClock, observedClock } from '../answer-date.ts';
import { type JsonObject, type ProviderDeps, ProviderError } from '../contract.ts';
import { agents } from './agents.ts';
import { saysWrongTime, toProviderError, unknownSession, unlessGivenUp, worthOneMore } from './errors.ts';
import type { AwsSettings } from './settings.ts';

export interface StaticCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

export interface AwsClients {
  /** Opens a session of a role, by whichever way `WRIT_AWS_AUTH` says. `subject` is the token's `sub`. */
  assume(
    request: AssumeRoleCommandInput & { RoleArn: string; RoleSessionName: string },
    subject: string,
    signal: AbortSignal,
  ): Promise<AssumeRoleResponse>;
  /**
   * Works with a client that may write the roles' policies; once more with a new session of the revoke role,
   * or the machine's own credentials looked for anew, when AWS does not know the kept ones any longer. So the
   * work must be such that it can be done twice.
   */
  iam<T>(signal: AbortSignal, work: (client: IAMClient) => Promise<T>): Promise<T>;
  /** AWS's own clock, as its answers tell it. */
  clock: ObservedClock;
}

/** `ambient`: credentials to use instead of what the SDK finds by itself (tests). */
export function awsClients(settings: AwsSettings, deps: ProviderDeps, ambient?: StaticCredentials): AwsClients {
  const common = () => ({
    region: settings.AWS_REGION,
    requestHandler: {
      ...agents(),
      connectionTimeout: 3_000,
      requestTimeout: settings.WRIT_AWS_TIMEOUT_SECONDS * 1000,
      throwOnRequestTimeout: true,
    },
  });
  const at = (own: string | undefined) => {
    const endpoint = own ?? settings.AWS_ENDPOINT_URL;
    return endpoint === undefined ? {} : { endpoint };
  };
  // Any answer of STS has a date, the one to an empty request too.
  const ownSts = settings.AWS_ENDPOINT_URL_STS ?? settings.AWS_ENDPOINT_URL;
  const clock = observedClock(deps.clock, (signal) =>
    askTime(ownSts ?? publicSts(sts, settings.AWS_REGION), clock, signal),
  );
  // One attempt: what may be sent again is decided below, and AWS's waiting time is handed on, not slept.
  const stsClient = () => {
    const client = new STSClient({
      ...common(),
      maxAttempts: 1,
      ...at(settings.AWS_ENDPOINT_URL_STS),
      ...(ambient === undefined ? {} : { credentials: ambient }),
    });
    observeDates(client, clock);
    return client;
  };
  let sts = stsClient();
  // One attempt: the SDK takes LimitExceeded (the policy is full) for throttling; the reconciler retries what
  // can be retried.
  const iamClient = (credentials: StaticCredentials | undefined) => {
    const client = new IAMClient({
      ...common(),
      ...at(settings.AWS_ENDPOINT_URL_IAM),
      maxAttempts: 1,
      ...(credentials === undefined ? {} : { credentials }),
    });
    observeDates(client, clock);
    return client;
  };

  const byWebIdentity: AwsClients['assume'] = async (request, subject, signal) => {
    const { Tags, SourceIdentity, ExternalId, ...rest } = request;
    if (ExternalId !== undefined)
      throw new ProviderError('bad_params', 'A web identity has no external id.', { path: 'external_id' });
    const claims: JsonObject = {};
    if (SourceIdentity !== undefined) claims['https://aws.amazon.com/source_identity'] = SourceIdentity;
    if (Tags !== undefined)
      claims['https://aws.amazon.com/tags'] = {
        principal_tags: Object.fromEntries(Tags.map((tag) => [tag.Key ?? '', [tag.Value ?? '']])),
        transitive_tag_keys: [],
      };
    for (let attempt = 1; ; attempt += 1) {
      const signedAt = clock.now();
      const token = await deps.signIdentityToken(
        { ...claims, sub: subject, aud: settings.WRIT_AWS_AUDIENCE },
        120,
        signedAt,
      );
      unlessGivenUp('sts:AssumeRoleWithWebIdentity', signal);
      try {
        return await sts.send(new AssumeRoleWithWebIdentityCommand({ ...rest, WebIdentityToken: token }), {
          abortSignal: signal,
        });
      } catch (error) {
        const failure = toProviderError(error, 'sts:AssumeRoleWithWebIdentity', signal, clock.now());
        // The refusal's date tells AWS's time: the next token is made by it.
        if (attempt === 2 || !(worthOneMore(failure) || saysWrongTime(failure))) throw failure;
      }
    }
  };
  const byAmbientCredentials: AwsClients['assume'] = async (request, _subject, signal) => {
    for (let attempt = 1; ; attempt += 1) {
      unlessGivenUp('sts:AssumeRole', signal);
      try {
        return await sts.send(new AssumeRoleCommand(request), { abortSignal: signal });
      } catch (error) {
        const failure = toProviderError(error, 'sts:AssumeRole', signal, clock.now());
        // The SDK has set its signing clock by the refusal's date. What it has kept of the machine's own
        // credentials, a new client looks for anew; calls that are under way go on with the old one.
        const stale = unknownSession(failure);
        const again = worthOneMore(failure) || stale || clockApart.test(failure.providerCode ?? '');
        if (attempt === 2 || !again) throw failure;
        if (stale) sts = stsClient();
      }
    }
  };
  const assume = settings.WRIT_AWS_AUTH === 'ambient' ? byAmbientCredentials : byWebIdentity;

  let revoker: Revoker | null = null;
  const revokerNow = async (signal: AbortSignal): Promise<Revoker> => {
    if (settings.WRIT_AWS_REVOKE_ROLE === undefined) {
      revoker ??= { client: iamClient(ambient), from: -Infinity, until: Infinity, users: 0 };
      return revoker;
    }
    const now = deps.clock.now().getTime();
    if (revoker !== null && now >= revoker.from && now < revoker.until) return revoker;
    const request = { RoleArn: settings.WRIT_AWS_REVOKE_ROLE, RoleSessionName: 'writ-revoker', DurationSeconds: 900 };
    const { Credentials: given } = await assume(request, 'writ:revoker', signal);
    if (!given?.AccessKeyId || !given.SecretAccessKey || !given.SessionToken)
      throw new ProviderError('upstream_mismatch', 'the revoke role came without credentials');
    const credentials = {
      accessKeyId: given.AccessKeyId,
      secretAccessKey: given.SecretAccessKey,
      sessionToken: given.SessionToken,
    };
    // By AWS's own end of it, where that comes sooner.
    const left = (given.Expiration?.getTime() ?? Number.POSITIVE_INFINITY) - clock.now().getTime() - 300_000;
    drop(revoker);
    revoker = { client: iamClient(credentials), from: now, until: now + Math.min(left, 600_000), users: 0 };
    return revoker;
  };
  const drop = (old: Revoker | null) => {
    if (old === revoker) revoker = null;
    if (old?.users === 0) old.client.destroy();
  };
  const working = async <T>(used: Revoker, work: (client: IAMClient) => Promise<T>): Promise<T> => {
    used.users += 1;
    try {
      return await work(used.client);
    } finally {
      used.users -= 1;
      // Others may be at work with a client that was replaced: to destroy it would cut them off.
      if (used !== revoker && used.users === 0) used.client.destroy();
    }
  };
  const iam: AwsClients['iam'] = async (signal, work) => {
    const used = await revokerNow(signal);
    try {
      return await working(used, work);
    } catch (error) {
      if (!unknownSession(toProviderError(error, 'iam', signal, clock.now()))) throw error;
      if (used === revoker) drop(used);
      return working(await revokerNow(signal), work);
    }
  };
  return { assume, iam, clock };
}

/**
 * The session of the revoke role, between which moments of our clock it is used, and by how many just now.
 */
interface Revoker {
  client: IAMClient;
  from: number;
  until: number;
  users: number;
}

/** Where the SDK itself finds STS: each partition has a domain of its own. */
export const publicSts = ({ config }: STSClient, Region: string): string =>
  String(config.endpointProvider({ Region, UseGlobalEndpoint: false }).url);

const clockApart = /^(?:SignatureDoesNotMatch|RequestTimeTooSkewed|RequestExpired)/;

/** Notes the date of every answer of a client, refusals included. */
function observeDates(client: STSClient | IAMClient, clock: ObservedClock): void {
  // biome-ignore lint/suspicious/noExplicitAny: the stacks of two clients differ in their types alone
  (client as { middlewareStack: { add(middleware: any, options: object): void } }).middlewareStack.add(
    (next: (args: unknown) => Promise<{ response: unknown }>) => async (args: unknown) => {
      const sentAt = clock.ours();
      const result = await next(args);
      const { headers } = result.response as { headers?: Record<string, string | undefined> };
      clock.observe(headers?.date, sentAt, headers?.age);
      return result;
    },
    { step: 'deserialize', priority: 'low', name: 'writObserveDate' },
  );
}

const askTime = (url: string, clock: ObservedClock, signal: AbortSignal) =>
  askDate(url, clock, signal).catch((error) => {
    throw toProviderError(error, 'sts: asking for the time', signal, clock.now());
  });
