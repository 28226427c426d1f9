/**
 * A small Google Cloud on loopback that enforces what the real one enforces for short-lived credentials: IAM
 * Credentials (REST and gRPC), Security Token Service, IAM serviceAccounts and Cloud Storage's JSON API, all
 * HTTP on one port. For trying Writ out, and for tests.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../../broker/core/vocabulary.ts';
import { apiErrorBody, GoogleError, StsError, storageErrorBody, stsErrorBody } from './errors.ts';
import { type Endpoint, type FaultKind, faults } from './faults.ts';
import { federation, principalOf } from './federation.ts';
import { administerAccount, testAccountPermissions } from './iam-admin.ts';
import { type GenerateAccessTokenRequest, generateAccessToken, readRestRequest } from './iam-credentials.ts';
import { serveIamCredentialsGrpc } from './iam-credentials-grpc.ts';
import { type Route, route } from './routes.ts';
import {
  deleteObject,
  getManagedFolder,
  getObject,
  insertObject,
  listObjects,
  type StorageAnswer,
  testPermissions,
} from './storage.ts';
import { exchangeToken } from './sts.ts';
import { readMediaUpload, readMultipartUpload } from './upload.ts';
import {
  type AccessToken,
  findAccount,
  grantToken,
  isMarkedDisabled,
  liveToken,
  type ServiceAccountSeed,
  serviceAccount,
  stored,
  type World,
} from './world.ts';

export interface GcpSandboxOptions {
  clock: Clock;
  /** 0 (default) = any free port. */
  port?: number;
  grpcPort?: number;
  /** Issuers that the workload identity provider trusts, each with the URL of its JWKS. */
  issuers: { [issuer: string]: string };
  /**
   * Workload identity provider; default
   * `projects/123456789012/locations/global/workloadIdentityPools/writ/providers/broker`.
   */
  provider?: string;
  /**
   * The broker's subject in that provider: the only one admitted, and whom accounts and administration are
   * open to. Default `writ-broker`.
   */
  brokerSubject?: string;
  serviceAccounts: ServiceAccountSeed[];
  /** Bucket → object name → content. */
  buckets: { [bucket: string]: { [object: string]: string } };
  /** Managed folders of each bucket: `customers/42/`. */
  managedFolders?: { [bucket: string]: string[] };
  /** How long disable and enable take to bite; default 0. Time is the clock's. */
  disableLagMs?: number;
}

export interface GcpSandbox {
  /** Base address of all REST APIs, without a final slash. */
  url: string;
  /** IAM Credentials over gRPC, without TLS, on 127.0.0.1. */
  grpcPort: number;
  /** The workload identity provider's resource name. */
  provider: string;
  /** Requests received so far, counted on arrival, both transports; of one endpoint or of all. */
  requests(endpoint?: Endpoint): number;
  /** How an endpoint behaves from now on; null = normally. */
  fail(kind: FaultKind | null, endpoint?: Endpoint, times?: number): void;
  /**
   * From now on generateAccessToken gives this many seconds more than asked: a Google that does not keep its
   * word.
   */
  lengthenTokensBy(seconds: number): void;
  /** An administrator disables or enables the account by hand. */
  setDisabled(email: string, disabled: boolean): void;
  isDisabled(email: string): boolean;
  /**
   * A token of this member from outside, e.g. an administrator or a stranger: it may call IAM Credentials,
   * but holds no role in Cloud Storage. What a service account may do there needs a token minted by
   * generateAccessToken.
   */
  tokenFor(member: string, scopes: string[], lifetimeSeconds?: number): string;
  /**
   * Every token given out so far, the broker's own and those before downscoping included: what must not be
   * found anywhere.
   */
  tokens(): string[];
  /** Every token given out so far is unknown from now on. */
  forgetTokens(): void;
  /** Puts an object there, or deletes it with null: what somebody else did. */
  setObject(bucket: string, name: string, text: string | null): void;
  /** Takes what the broker may do away: minting on this account, or administering any. */
  takeFromBroker(right: { mintingOn: string } | 'administering'): void;
  /** An administrator gives the account these roles in Cloud Storage, and no others. */
  setRoles(email: string, roles: { bucket: string; role: string }[]): void;
  /** The content of an object, or null. */
  object(bucket: string, name: string): string | null;
  close(): Promise<void>;
}

const defaultProvider = 'projects/123456789012/locations/global/workloadIdentityPools/writ/providers/broker';
const bodyLimit = 10 * 1024 * 1024;

export async function startGcpSandbox(options: GcpSandboxOptions): Promise<GcpSandbox> {
  const provider = options.provider ?? defaultProvider;
  const subject = options.brokerSubject ?? 'writ-broker';
  const world = createWorld(options, principalOf(provider, subject));
  const federate = federation({ name: provider, issuers: options.issuers, subjects: [subject] }, options.clock);
  const fault = faults();
  const counts = new Map<Endpoint, number>();
  const count = (endpoint: Endpoint) => counts.set(endpoint, (counts.get(endpoint) ?? 0) + 1);
  let extraSeconds = 0;

  const mint = (caller: AccessToken, request: GenerateAccessTokenRequest) => {
    const answer = generateAccessToken(world, caller, request);
    const record = world.tokens.get(answer.accessToken);
    if (extraSeconds === 0 || record === undefined) return answer;
    record.expiresAt += extraSeconds * 1000;
    return { ...answer, expireTime: new Date(record.expiresAt) };
  };

  const authenticate = (authorization: string | undefined): AccessToken => {
    const text = /^Bearer ([\x21-\x7e]+)$/i.exec(authorization ?? '')?.[1];
    const token = text === undefined ? null : liveToken(world, text);
    if (token === null) throw new GoogleError('UNAUTHENTICATED', 'Request had invalid authentication credentials.');
    return token;
  };

  /** Null = left hanging. */
  const answer = async (asked: Route, request: IncomingMessage, url: URL): Promise<StorageAnswer | null> => {
    const body = await readBody(request);
    if (fault.strike(asked.endpoint)) return null;
    if (asked.endpoint === 'exchange') {
      if (!request.headers['content-type']?.startsWith('application/x-www-form-urlencoded'))
        throw new StsError('invalid_request', 'The body must be form-encoded.');
      return { status: 200, body: await exchangeToken(world, federate, new URLSearchParams(body.toString())) };
    }
    const caller = authenticate(request.headers.authorization);
    if (asked.endpoint === 'mint') {
      const { accessToken, expireTime } = mint(caller, readRestRequest(asked.name, parseJson(body)));
      return { status: 200, body: { accessToken, expireTime: expireTime.toISOString().replace(/\.\d+Z$/, 'Z') } };
    }
    if (asked.endpoint === 'admin') {
      const { verb, project, email } = asked;
      if (verb !== 'testIamPermissions')
        return { status: 200, body: administerAccount(world, caller, verb, project, email) };
      const wanted = (parseJson(body) as { permissions?: unknown }).permissions;
      return { status: 200, body: testAccountPermissions(world, caller, project, email, wanted) };
    }
    switch (asked.action) {
      case 'list':
        return listObjects(world, caller, asked.bucket, asked.listing);
      case 'folder':
        return getManagedFolder(world, caller, asked.bucket, asked.folder);
      case 'test':
        return testPermissions(world, caller, asked.bucket, asked.permissions);
      case 'insert': {
        const contentType = request.headers['content-type'] ?? url.searchParams.get('contentType');
        const read = asked.uploadType === 'media' ? readMediaUpload : readMultipartUpload;
        const { name, content } = read(contentType, asked.object, body);
        return insertObject(world, caller, asked.bucket, name, content);
      }
      case 'delete':
        return deleteObject(world, caller, asked.bucket, asked.object);
      default:
        return getObject(world, caller, asked.bucket, asked.object, asked.action === 'download');
    }
  };

  const http = createServer((request, response) => {
    // As Google's follows Google's clock, the Date header follows the sandbox's.
    response.setHeader('date', options.clock.now().toUTCString());
    const url = new URL(request.url ?? '/', 'http://sandbox.invalid');
    const asked = route(request.method ?? 'GET', url);
    if (asked === null)
      return send(response, { status: 404, body: apiErrorBody(new GoogleError('NOT_FOUND', 'Not found')) });
    count(asked.endpoint);
    answer(asked, request, url)
      .catch((error: unknown) => errorAnswer(asked.endpoint, error))
      .then((result) => result && send(response, result))
      .catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject);
    http.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const grpc = await serveIamCredentialsGrpc(options.grpcPort ?? 0, (authorization, request) => {
    count('mint');
    return fault.strike('mint') ? null : mint(authenticate(authorization), request);
  });

  const account = (email: string) => {
    const found = findAccount(world, email);
    if (found === null) throw new Error(`no such service account in the sandbox: ${email}`);
    return found;
  };
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    grpcPort: grpc.port,
    provider,
    requests: (endpoint) =>
      endpoint === undefined ? [...counts.values()].reduce((a, b) => a + b, 0) : (counts.get(endpoint) ?? 0),
    fail: (kind, endpoint = 'mint', times) => fault.set(endpoint, kind, times),
    lengthenTokensBy: (seconds) => {
      extraSeconds = seconds;
    },
    setDisabled: (email, disabled) => {
      account(email).changes.push({ at: options.clock.now().getTime(), disabled });
    },
    isDisabled: (email) => isMarkedDisabled(account(email)),
    tokenFor: (member, scopes, lifetimeSeconds = 3600) => {
      const expiresAt = options.clock.now().getTime() + lifetimeSeconds * 1000;
      return grantToken(world, { member, account: null, scopes: new Set(scopes), expiresAt, boundary: null });
    },
    tokens: () => [...world.tokens.keys()],
    forgetTokens: () => world.tokens.clear(),
    setObject: (bucket, name, text) => {
      const objects = world.buckets.get(bucket);
      if (objects === undefined) throw new Error(`no such bucket in the sandbox: ${bucket}`);
      if (text === null) objects.delete(name);
      else objects.set(name, stored(world, { bytes: Buffer.from(text), contentType: 'text/plain' }));
    },
    setRoles: (email, roles) => {
      account(email).storage = roles;
    },
    takeFromBroker: (right) => {
      const broker = principalOf(provider, subject);
      if (right === 'administering') (world.admins as Set<string>).delete(broker);
      else (account(right.mintingOn).tokenCreators as Set<string>).delete(broker);
    },
    object: (bucket, name) => world.buckets.get(bucket)?.get(name)?.bytes.toString() ?? null,
    close: async () => {
      grpc.close();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

function createWorld(options: GcpSandboxOptions, broker: string): World {
  const first = { clock: options.clock, lastGeneration: 0n };
  const seeded = (text: string) => stored(first, { bytes: Buffer.from(text), contentType: 'text/plain' });
  return Object.assign(first, {
    accounts: new Map(options.serviceAccounts.map((seed, index) => [seed.email, serviceAccount(seed, index, broker)])),
    managedFolders: new Map(
      Object.entries(options.managedFolders ?? {}).map(([bucket, folders]) => [bucket, new Set(folders)]),
    ),
    buckets: new Map(
      Object.entries(options.buckets).map(([bucket, objects]) => [
        bucket,
        new Map(Object.entries(objects).map(([name, text]) => [name, seeded(text)])),
      ]),
    ),
    tokens: new Map(),
    admins: new Set([broker]),
    disableLagMs: options.disableLagMs ?? 0,
  });
}

function errorAnswer(endpoint: Endpoint, error: unknown): StorageAnswer {
  if (error instanceof StsError) return { status: 400, body: stsErrorBody(error) };
  if (!(error instanceof GoogleError)) return { status: 500, body: { error: { code: 500, status: 'INTERNAL' } } };
  const wait = error.retryAfterSeconds;
  const headers = wait === undefined ? undefined : { 'retry-after': String(wait) };
  const body = endpoint === 'storage' ? storageErrorBody(error) : apiErrorBody(error);
  return { status: error.httpStatus, body, ...(headers === undefined ? {} : { headers }) };
}

function send(response: ServerResponse, { status, body, headers }: StorageAnswer): void {
  if (body === null) response.writeHead(status).end();
  else if (Buffer.isBuffer(body)) response.writeHead(status, headers).end(body);
  else
    response
      .writeHead(status, { 'content-type': 'application/json; charset=UTF-8', ...headers })
      .end(JSON.stringify(body));
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > bodyLimit) throw new GoogleError('INVALID_ARGUMENT', 'Request payload size exceeds the limit.');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    throw new GoogleError('INVALID_ARGUMENT', 'Invalid JSON payload received.');
  }
}
