/** Grants for the AWS SDK (v3). */
import type { AwsCredential } from './credentials.ts';
import { WritError } from './errors.ts';
import type { Grant, GrantParams } from './grant.ts';
import { type RenewingOptions, renewing } from './renewing.ts';
import type { Session } from './session.ts';

/** What the SDK calls an AwsCredentialIdentity. */
export interface AwsSdkCredentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  expiration: Date;
}

/**
 * A credential provider: asks for the capability when the SDK first needs it, and again shortly before it
 * expires.
 *
 * @example
 * const credentials = awsCredentials(session, 'read-customer-files');
 * const s3 = new S3Client({ region: 'eu-west-1', credentials });
 */
export function awsCredentials(
  session: Pick<Session, 'grant' | 'signal'>,
  capability: string,
  params: GrantParams = {},
  options: Omit<RenewingOptions<'aws'>, 'type'> = {},
): (props?: { forceRefresh?: boolean }) => Promise<AwsSdkCredentials> {
  const current = renewing(session, capability, params, { ...options, type: 'aws' });
  return async (props) => awsCredentialsOf(await current({ forceRefresh: props?.forceRefresh === true }));
}

/**
 * The credentials of one grant, for as long as it lives.
 *
 * @throws WritError `wrong_credential`
 * @example
 * const s3 = new S3Client({ region: 'eu-west-1', credentials: awsCredentialsOf(grant) });
 */
export function awsCredentialsOf(grant: Grant): AwsSdkCredentials {
  const { accessKeyId, secretAccessKey, sessionToken, expiration } = awsOf(grant);
  return { accessKeyId, secretAccessKey, sessionToken, expiration };
}

function awsOf({ credential, id }: Grant): AwsCredential {
  if (credential.type === 'aws') return credential;
  throw new WritError('wrong_credential', `The grant is for ${credential.type}, not for AWS`, { grantId: id });
}
