/** `@writ/client`: the agent's side of Writ. */
export { type AwsSdkCredentials, awsCredentials, awsCredentialsOf } from './aws.ts';
export type { Capability, Choice } from './capabilities.ts';
export type { Clock } from './clock.ts';
export type {
  AwsCredential,
  Credential,
  CredentialOf,
  CredentialType,
  GcpCredential,
  GithubCredential,
  OtherCredential,
  PostgresCredential,
} from './credentials.ts';
export {
  type CallApproval,
  type CallDecision,
  type CallEffect,
  explain,
  isAllowed,
  readApproval,
  readDecision,
} from './decision.ts';
export {
  type BrokerErrorCode,
  type ClientErrorCode,
  type DenialReason,
  type NearestRequest,
  type Problem,
  type Resumption,
  WritDenied,
  WritError,
  type WritErrorCode,
  WritNeedsApproval,
} from './errors.ts';
export { googleAuthClient, type OAuth2ClientLike } from './google.ts';
export type {
  CollectOptions,
  Grant,
  GrantOptions,
  GrantParams,
  GrantRequest,
  GrantsOptions,
  PendingGrant,
} from './grant.ts';
export { type ClientKey, fileToken, githubActionsToken, type SubjectToken } from './identity.ts';
export type { EndReason, SessionEnd } from './lifetime.ts';
export { type OctokitAuth, octokitAuth, octokitOptions } from './octokit.ts';
export type { Lease, Overview } from './overview.ts';
export { type PostgresOptions, postgresOptions, prismaUrl } from './postgres.ts';
export { type RenewingOptions, renewing } from './renewing.ts';
export type { Asleep, Envelope, Session } from './session.ts';
export {
  type AllowedCall,
  type CallableTool,
  type CallingSession,
  type CallOptions,
  type CallReport,
  withWrit,
} from './tools.ts';
export { type OpenSessionOptions, type ResumeSessionOptions, Writ } from './writ.ts';
