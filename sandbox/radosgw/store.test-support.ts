/** What the suites need of a running radosgw: an admin's clients, a role of their own, the agent's client. */
import { randomBytes } from 'node:crypto';
import { CreateRoleCommand, DeleteRolePolicyCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { systemClock } from '../../broker/core/clock.ts';
import { createAwsProvider } from '../../providers/aws/index.ts';
import { awsSettings } from '../../providers/aws/settings.ts';
import type { JsonObject } from '../../providers/contract.ts';

/** As up.sh makes it. */
export const endpoint = { host: '127.0.0.1', port: 18480 };
const url = `http://${endpoint.host}:${endpoint.port}`;
export const account = '123456789012';
const region = 'us-east-1';
export const admin = { accessKeyId: 'ADMINKEY', secretAccessKey: 'adminsecret' };
export const brokerKey = { accessKeyId: 'BROKERKEY', secretAccessKey: 'brokersecret' };
export const bucket = 'orders';
export const objects = { inside: 'customers/42/a.txt', outside: 'customers/421/b.txt' };

export const clientOptions = { endpoint: url, region, maxAttempts: 3 };

export type Store = Awaited<ReturnType<typeof openStore>>;

/** A role of this store's own, that may do everything with S3, and that the broker may assume. */
export async function openStore() {
  const iam = new IAMClient({ ...clientOptions, credentials: admin });
  const s3 = new S3Client({ ...clientOptions, credentials: admin, forcePathStyle: true });
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  for (const Key of Object.values(objects)) await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: Key }));
  const name = `writ-${randomBytes(5).toString('hex')}`;
  const trust = {
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { AWS: [`arn:aws:iam::${account}:user/broker`] },
        Action: ['sts:AssumeRole', 'sts:TagSession'],
      },
    ],
  };
  await iam.send(new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: JSON.stringify(trust) }));
  const allow = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Action: ['s3:*'], Resource: ['arn:aws:s3:::*'] }],
  };
  const document = { RoleName: name, PolicyName: 'allow', PolicyDocument: JSON.stringify(allow) };
  await iam.send(new PutRolePolicyCommand(document));
  return {
    role: `arn:aws:iam::${account}:role/${name}`,
    /** What somebody else wrote. */
    put: async (Key: string) => {
      await s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body: randomBytes(12).toString('hex') }));
    },
    /** What somebody else did to the role. */
    removePolicy: (PolicyName: string) => iam.send(new DeleteRolePolicyCommand({ RoleName: name, PolicyName })),
    close: () => {
      iam.destroy();
      s3.destroy();
    },
  };
}

export function providerFor(role: string, through: string) {
  const settings = awsSettings.parse({
    WRIT_AWS_ROLES: role,
    WRIT_AWS_AUTH: 'ambient',
    WRIT_AWS_REVOKE_KEY: 'userid',
    WRIT_AWS_REVOKE_LAG_SECONDS: '0',
    WRIT_AWS_TIMEOUT_SECONDS: '30',
    AWS_ENDPOINT_URL: through,
  });
  const deps = { clock: systemClock, signIdentityToken: async () => '' };
  return createAwsProvider(settings, deps, brokerKey);
}

/** Reads as the agent does, with the unmodified client; anything but radosgw's own refusal fails the test. */
export async function read(credential: JsonObject, key: string): Promise<'accepted' | 'refused'> {
  const client = new S3Client({
    ...clientOptions,
    forcePathStyle: true,
    credentials: {
      accessKeyId: String(credential.access_key_id),
      secretAccessKey: String(credential.secret_access_key),
      sessionToken: String(credential.session_token),
    },
  });
  try {
    await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    return 'accepted';
  } catch (error) {
    if (error instanceof Error && /^(AccessDenied|ExpiredToken)$/.test(error.name)) return 'refused';
    throw error;
  } finally {
    client.destroy();
  }
}
