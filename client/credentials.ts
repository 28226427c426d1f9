/**
 * The providers' own credentials: typed, from the wire's snake_case and ISO times, for the providers that are
 * known here; as they came for every other.
 */
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

export interface PostgresCredential {
  type: 'postgres';
  host: string;
  port: number;
  database: string;
  user: string;
  password: string;
  sslMode: 'verify-full' | 'require' | 'disable';
  /** What the server's certificate is verified with (PEM); absent = the system's. */
  sslRootCert?: string;
  /** A connection string with all of it but the certificates. */
  url: string;
  /** The text of a file for PGSERVICEFILE, with the service `writ`. */
  serviceFile: string;
  /** The schema and name under which each table of the plan is reached. */
  relations: { table: string; schema: string; name: string }[];
  expiresAt: Date;
}

/**
 * The credential of a provider that this version has no type for: exactly what the provider's `issue`
 * returned, under the names and in the forms of its own documentation. Ask with the option
 * `{ type: 'vault' }` to have `type` checked and typed.
 */
export interface OtherCredential<T extends string = OtherType> {
  type: T;
  [member: string]: unknown;
}

/**
 * Stands for any text but a known type. Exists for the compiler only, which tells union members apart by
 * types with one value: with `string` here, `type === 'github'` would not rule an OtherCredential out.
 */
declare enum OtherType {
  Any = '',
}

type KnownCredential = AwsCredential | GithubCredential | GcpCredential | PostgresCredential;

/** Told apart by `type`: what is none of the known types is an OtherCredential. */
export type Credential = KnownCredential | OtherCredential;
/** The known types; any other text is one too. */
export type CredentialType = KnownCredential['type'] | (string & {});
/** The credential of one type; of no type in particular, any. */
export type CredentialOf<T extends string> = string extends T
  ? Credential
  : T extends KnownCredential['type']
    ? Extract<KnownCredential, { type: T }>
    : OtherCredential<T>;

/**
 * @returns a known credential with its members renamed and checked, another one as it came
 * @throws WritError `bad_answer`, naming the member that is missing and never its neighbours' values
 */
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
    case 'postgres':
      return {
        type: 'postgres',
        host: text(of, 'host'),
        port: Number(of.port),
        database: text(of, 'database'),
        user: text(of, 'user'),
        password: text(of, 'password'),
        sslMode: text(of, 'sslmode') as PostgresCredential['sslMode'],
        url: text(of, 'url'),
        serviceFile: text(of, 'service_file'),
        relations: Array.isArray(of.relations) ? (of.relations as PostgresCredential['relations']) : [],
        expiresAt: time(of, 'expires_at'),
        ...optional('sslRootCert', of.ssl_root_cert),
      };
    default:
      return { ...of, type: text(of, 'type') as unknown as OtherType };
  }
}

/**
 * The end of a credential as it says itself; null when its type is not known here, and with it where it would
 * say so.
 */
export function expiryOf(credential: Credential): Date | null {
  switch (credential.type) {
    case 'aws':
      return credential.expiration;
    case 'github':
    case 'gcp':
    case 'postgres':
      return credential.expiresAt;
    default:
      return null;
  }
}

export const bad = (what: string) => new WritError('bad_answer', `The broker’s answer lacks ${what}`);

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
