/**
 * What an AWS plan is about, as it is now: the objects that it reaches in S3, and the policies of its role.
 * Objects are read with a session of the plan's own role, cut down to that, which stays in this process.
 */
import { S3Client } from '@aws-sdk/client-s3';
import { type JsonObject, type Plan, ProviderError } from '../contract.ts';
import { agents } from './agents.ts';
import type { AwsClients } from './clients.ts';
import { policyText } from './literal.ts';
import { objectsInWords, readingPolicy, readObjects, type SeenObjects } from './object-state.ts';
import type { AwsParams } from './params.ts';
import { readRole, roleInWords, type SeenRole } from './role-state.ts';
import { type AwsPermission, sessionPolicyLimit, untilPolicy } from './session-policy.ts';
import { type AwsSettings, canRevoke } from './settings.ts';

/** The session's own policy ends it then; STS goes no shorter than 900 s. Longer than any reading takes. */
const readingMs = 60_000;

/** Whose token opens it: no agent has a name of this kind. */
export const stateSubject = 'writ:state';

/** @throws ProviderError */
export async function readState(
  plan: Plan,
  settings: AwsSettings,
  clients: AwsClients,
  signal: AbortSignal,
): Promise<JsonObject> {
  const permission = plan.permission as AwsPermission;
  const params = paramsOf(permission);
  const ofRole = canRevoke(settings);
  if (params.service !== 's3' && !ofRole)
    throw new ProviderError(
      'upstream_refused',
      'Nothing can be read: the plan is about no objects, and without WRIT_AWS_REVOKE_ROLE nobody may read the role',
    );
  const role = ofRole ? await clients.iam(signal, (iam) => readRole(iam, permission.role, signal)) : null;
  const objects = params.service === 's3' ? await readWithSession(params, permission, settings, clients, signal) : null;
  return {
    ...(objects === null ? {} : { objects: objects as unknown as JsonObject }),
    ...(role === null ? {} : { role: role as unknown as JsonObject }),
  };
}

/** The same in words, a line each. Pure. */
export function stateInWords({ state, ...plan }: Plan): string[] {
  if (state === undefined) return [];
  const permission = plan.permission as AwsPermission;
  const params = paramsOf(permission);
  const { objects, role } = state.seen as { objects?: unknown; role?: unknown };
  return [
    ...(objects === undefined || params.service !== 's3' ? [] : [objectsInWords(params, objects as SeenObjects)]),
    ...(role === undefined ? [] : roleInWords(permission.role, role as SeenRole)),
  ];
}

type S3Params = Extract<AwsParams, { service: 's3' }>;

async function readWithSession(
  params: S3Params,
  { role, region }: AwsPermission,
  settings: AwsSettings,
  clients: AwsClients,
  signal: AbortSignal,
): Promise<SeenObjects> {
  await clients.clock.askNow(signal).catch(() => {});
  const policy = policyText(untilPolicy(readingPolicy(params), new Date(clients.clock.now().getTime() + readingMs)));
  if (policy.length > sessionPolicyLimit)
    throw new ProviderError('upstream_refused', 'The name is too long for a session that may read nothing else');
  const request = { RoleArn: role, RoleSessionName: 'writ-state', DurationSeconds: 900, Policy: policy };
  const { Credentials: given } = await clients.assume(request, stateSubject, signal);
  if (!given?.AccessKeyId || !given.SecretAccessKey || !given.SessionToken)
    throw new ProviderError('upstream_mismatch', 'STS answered without a complete credential');
  const endpoint = settings.AWS_ENDPOINT_URL;
  const s3 = new S3Client({
    region: region ?? settings.AWS_REGION,
    maxAttempts: 1,
    followRegionRedirects: true,
    ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
    requestHandler: {
      ...agents(),
      connectionTimeout: 3_000,
      requestTimeout: settings.WRIT_AWS_TIMEOUT_SECONDS * 1000,
      throwOnRequestTimeout: true,
    },
    credentials: {
      accessKeyId: given.AccessKeyId,
      secretAccessKey: given.SecretAccessKey,
      sessionToken: given.SessionToken,
    },
  });
  try {
    return await readObjects(s3, params, signal);
  } finally {
    s3.destroy();
  }
}

const paramsOf = ({ params, role, region }: AwsPermission) => ({ ...params, role, region }) as unknown as AwsParams;
