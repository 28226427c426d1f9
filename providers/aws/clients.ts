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
import { type JsonObject, type ProviderDeps, ProviderError } from '../contract.ts';
import { toProviderError } from './errors.ts';
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
  /** A client that may write the roles' policies. */
  iam(signal: AbortSignal): Promise<IAMClient>;
}

/** `ambient`: credentials to use instead of what the SDK finds by itself (tests). */
export function awsClients(settings: AwsSettings, deps: ProviderDeps, ambient?: StaticCredentials): AwsClients {
  const common = {
    region: settings.AWS_REGION,
    requestHandler: {
      connectionTimeout: 3_000,
      requestTimeout: settings.WRIT_AWS_TIMEOUT_SECONDS * 1000,
      throwOnRequestTimeout: true,
    },
  };
  const at = (own: string | undefined) => {
    const endpoint = own ?? settings.AWS_ENDPOINT_URL;
    return endpoint === undefined ? {} : { endpoint };
  };
  const sts = new STSClient({
    ...common,
    ...at(settings.AWS_ENDPOINT_URL_STS),
    ...(ambient === undefined ? {} : { credentials: ambient }),
  });
  // One attempt: the SDK takes LimitExceeded (the policy is full) for throttling; the reconciler retries what
  // can be retried.
  const iamClient = (credentials: StaticCredentials | undefined) =>
    new IAMClient({
      ...common,
      ...at(settings.AWS_ENDPOINT_URL_IAM),
      maxAttempts: 1,
      ...(credentials === undefined ? {} : { credentials }),
    });

  const byWebIdentity: AwsClients['assume'] = async (request, subject, signal) => {
    const { Tags, SourceIdentity, ...rest } = request;
    const claims: JsonObject = {};
    if (SourceIdentity !== undefined) claims['https://aws.amazon.com/source_identity'] = SourceIdentity;
    if (Tags !== undefined)
      claims['https://aws.amazon.com/tags'] = {
        principal_tags: Object.fromEntries(Tags.map((tag) => [tag.Key ?? '', [tag.Value ?? '']])),
        transitive_tag_keys: [],
      };
    for (let attempt = 1; ; attempt += 1) {
      const token = await deps.signIdentityToken({ ...claims, sub: subject, aud: settings.WRIT_AWS_AUDIENCE }, 120);
      try {
        return await sts.send(new AssumeRoleWithWebIdentityCommand({ ...rest, WebIdentityToken: token }), {
          abortSignal: signal,
        });
      } catch (error) {
        const failure = toProviderError(error, 'sts:AssumeRoleWithWebIdentity', signal);
        // A token can age on the way; a second one that is too old says that the clocks differ.
        if (failure.providerCode !== 'ExpiredTokenException' || attempt === 2) throw failure;
      }
    }
  };
  const byAmbientCredentials: AwsClients['assume'] = async (request, _subject, signal) => {
    try {
      return await sts.send(new AssumeRoleCommand(request), { abortSignal: signal });
    } catch (error) {
      throw toProviderError(error, 'sts:AssumeRole', signal);
    }
  };
  const assume = settings.WRIT_AWS_AUTH === 'ambient' ? byAmbientCredentials : byWebIdentity;

  let revoker: { client: IAMClient; until: number } | null = null;
  const iam: AwsClients['iam'] = async (signal) => {
    if (settings.WRIT_AWS_REVOKE_ROLE === undefined) {
      revoker ??= { client: iamClient(ambient), until: Number.POSITIVE_INFINITY };
      return revoker.client;
    }
    const now = deps.clock.now().getTime();
    if (revoker !== null && now < revoker.until) return revoker.client;
    const request = { RoleArn: settings.WRIT_AWS_REVOKE_ROLE, RoleSessionName: 'writ-revoker', DurationSeconds: 900 };
    const { Credentials: given } = await assume(request, 'writ:revoker', signal);
    if (!given?.AccessKeyId || !given.SecretAccessKey || !given.SessionToken)
      throw new ProviderError('upstream_mismatch', 'the revoke role came without credentials');
    const credentials = {
      accessKeyId: given.AccessKeyId,
      secretAccessKey: given.SecretAccessKey,
      sessionToken: given.SessionToken,
    };
    revoker?.client.destroy();
    revoker = { client: iamClient(credentials), until: now + 10 * 60_000 };
    return revoker.client;
  };
  return { assume, iam };
}
