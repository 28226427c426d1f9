/** The providers' own credentials, typed; from the wire's snake_case and ISO times. */
import { WritError } from './errors.ts';

export interface AwsCredential {
  type: 'aws';
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string;
  expiration: Date;
  /** Where the capability is bound to a region. */
  region?: string;
}

export interface GithubCredential {
  type: 'github';
  token: string;
  /** Base of the REST API the token is for. */
  apiUrl: string;
  expiresAt: Date;
}

export interface GcpCredential {
  type: 'gcp';
  accessToken: string;
  expiresAt: Date;
  serviceAccount?: string;
  scopes: string[];
  projectId?: string;
}

/** Told apart by `type`. */
export type Credential = AwsCredential | GithubCredential | GcpCredential;
export type CredentialType = Credential['type'];
export type CredentialOf<T extends CredentialType> = Extract<Credential, { type: T }>;

/** @throws WritError `bad_answer`, naming the member that is missing and never its neighbours' values */
export function readCredential(wire: unknown): Credential {
  if (typeof wire !== 'object' || wire === null) throw bad('the credential');
  const of = wire as { [name: string]: unknown };
  switch (of.type) {
    case 'aws':
      return {
        type: 'aws',
        accessKeyId: text(of, 'access_key_id'),
        secretAccessKey: text(of, 'secret_access_key'),
        sessionToken: text(of, 'session_token'),
        expiration: time(of, 'expiration'),
        ...optional('region', of.region),
      };
    case 'github':
      return {
        type: 'github',
        token: text(of, 'token'),
        apiUrl: text(of, 'api_url'),
        expiresAt: time(of, 'expires_at'),
      };
    case 'gcp':
      return {
        type: 'gcp',
        accessToken: text(of, 'access_token'),
        expiresAt: time(of, 'expires_at'),
        scopes: Array.isArray(of.scopes) ? of.scopes.map(String) : [],
        ...optional('serviceAccount', of.service_account),
        ...optional('projectId', of.project_id),
      };
    default:
      throw bad('a credential type this version knows');
  }
}

/** The end of a credential, whichever provider's. */
export const expiryOf = (credential: Credential): Date =>
  credential.type === 'aws' ? credential.expiration : credential.expiresAt;

const bad = (what: string) => new WritError('bad_answer', `The broker’s answer lacks ${what}`);

function text(of: { [name: string]: unknown }, name: string): string {
  const value = of[name];
  if (typeof value !== 'string' || value === '') throw bad(name);
  return value;
}

function time(of: { [name: string]: unknown }, name: string): Date {
  const at = new Date(text(of, name));
  if (Number.isNaN(at.getTime())) throw bad(name);
  return at;
}

const optional = <N extends string>(name: N, value: unknown): { [K in N]?: string } =>
  (typeof value === 'string' ? { [name]: value } : {}) as { [K in N]?: string };
