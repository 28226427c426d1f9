/**
 * Starts the AWS counterpart on one loopback port. The service is told by the credential scope of the
 * signature; the one unsigned call is STS's AssumeRoleWithWebIdentity.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../../broker/core/vocabulary.ts';
import { dataService } from './data-services.ts';
import { AwsError } from './errors.ts';
import { iam } from './iam.ts';
import { type OddAnswer, oddly } from './odd.ts';
import type { Matcher } from './patterns.ts';
import { type PolicyDocument, parsePolicy } from './policy.ts';
import { liveObject, removeObject, s3, storedObject } from './s3.ts';
import { scopeOf, verifySignature } from './sigv4.ts';
import { authorize, inlinePolicies, type Principal, type Role, randomName, type State } from './state.ts';
import { assumeRole, assumeRoleWithWebIdentity, getCallerIdentity } from './sts.ts';
import { jsonError, queryError, s3Error, type WireAnswer, type WireRequest } from './wire.ts';

export interface AwsSandboxOptions {
  clock: Clock;
  /** 0 or absent = any free port. */
  port?: number;
  /**
   * OIDC providers registered with IAM: issuer URL → where its keys are (and who its tokens may be for;
   * default `sts.amazonaws.com`).
   */
  issuers?: Record<string, string | { jwksUrl: string; audiences: string[] }>;
  roles?: SandboxRole[];
  /** Long-lived users, for signed AssumeRole with ambient credentials. */
  users?: { arn: string; accessKeyId: string; secretAccessKey: string; policies: PolicyDocument[] }[];
  /** bucket → key → content. */
  buckets?: Record<string, Record<string, string>>;
  /** Those of the buckets that keep versions. Default: none. */
  versioned?: string[];
  /** Those that are encrypted with a key of KMS: bucket → ARN of the key. */
  encrypted?: Record<string, string>;
  /** Managed policies that a session may be opened with, by ARN. */
  managedPolicies?: Record<string, PolicyDocument>;
  /** table → its partition key and items by the value of that key. */
  tables?: Record<string, { partitionKey: string; items?: Record<string, Record<string, unknown>> }>;
  /** Queue ARNs. */
  queues?: string[];
  /** Secret ARN → value. */
  secrets?: Record<string, string>;
  /** How long a changed role policy takes to be enforced. Default 0. */
  denyLagMs?: number;
  /** false = `aws:SourceIdentity` is neither echoed nor evaluated, as in Ceph's gateway. Default true. */
  sourceIdentityHonoured?: boolean;
  /**
   * `first-fit`: a `*` takes as little as the next character allows and never tries again, as in Ceph's
   * gateway. Default: as AWS does, whatever makes the whole match.
   */
  matcher?: Matcher;
  /** How a policy that is not there is told: AWS's `NoSuchEntity`, or Ceph's bare 404. */
  missingPolicy?: 'wrapped' | 'bare';
  /** Called with the name of each action of STS and IAM before it is done. */
  onAction?: (action: string) => void;
}

export interface SandboxRole {
  arn: string;
  trust: PolicyDocument;
  /** Attached (managed) policies: what the role may do. Not counted in the inline limit. */
  policies: PolicyDocument[];
  /** Inline policies by name, as an admin wrote them. */
  inline?: Record<string, PolicyDocument>;
  /** Default 3600. */
  maxSessionSeconds?: number;
}

/** What an action (`AssumeRoleWithWebIdentity`, `PutRolePolicy`, `S3` …) does instead of its work. */
export type Fault =
  | 'hang'
  | { code: string; status: number; message?: string; retryAfterSeconds?: number }
  /** The answer of a gateway, which knows nothing of AWS's words. */
  | { bare: number }
  /** STS opens the session and says something else of it. */
  | { saying: OddAnswer };

export interface AwsSandbox {
  url: string;
  /** Requests received so far, but for those that ask for nothing but the time. */
  requests(): number;
  /** Makes an action fail from now on (`times` times if given), or work again with null. */
  fault(action: string, fault: Fault | null, times?: number): void;
  /** The inline policies IAM shows for a role, by name. */
  inlinePolicies(roleArn: string): Record<string, string>;
  /** Writes an inline policy past IAM: what an admin did elsewhere. null deletes it. */
  setInlinePolicy(roleArn: string, name: string, text: string | null): void;
  /** Gives a policy that is attached to a role a new version. @param index which of `policies` */
  setManagedPolicy(roleArn: string, index: number, policy: PolicyDocument): void;
  /** Changes what a role may be taken for, and for how long: what an admin did elsewhere. */
  setRole(roleArn: string, change: { trust?: PolicyDocument; maxSessionSeconds?: number }): void;
  /** Puts an object there, or deletes it with null: what somebody else did. */
  setObject(bucket: string, key: string, text: string | null): void;
  /** Sessions opened so far, without their secrets. */
  sessions(): {
    arn: string;
    sourceIdentity: string | null;
    tags: Record<string, string>;
    policy: PolicyDocument | null;
    policyArns: string[];
  }[];
  /**
   * Would the session, named by its ARN, be let through now? By what is enforced, which may lag behind what
   * IAM shows.
   */
  allows(sessionArn: string, action: string, resource: string): boolean;
  /** How many uploads in parts are neither done nor given up. */
  openUploads(): number;
  /** An object's content, or null. */
  object(bucket: string, key: string): string | null;
  close(): Promise<void>;
}

export async function startAwsSandbox(options: AwsSandboxOptions): Promise<AwsSandbox> {
  const state = initialState(options);
  const faults = new Map<string, { fault: Fault; left: number }>();
  let received = 0;

  const server = createServer((incoming, outgoing) => {
    // The root, unsigned, is asked for nothing but the time.
    const asksTime = incoming.method === 'GET' && incoming.url === '/' && !incoming.headers.authorization;
    if (!asksTime) received += 1;
    answer(state, faults, incoming)
      .then((result) => {
        if (result !== 'hang') send(outgoing, result, options.clock);
      })
      .catch(() => outgoing.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port ?? 0, '127.0.0.1', resolve);
  });

  const roleCalled = (arn: string): Role => {
    const role = state.roles.get(arn);
    if (role === undefined) throw new Error(`no such role: ${arn}`);
    return role;
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: () => received,
    fault: (action, fault, times = Number.POSITIVE_INFINITY) => {
      if (fault === null) faults.delete(action);
      else faults.set(action, { fault, left: times });
    },
    inlinePolicies: (arn) => Object.fromEntries(inlinePolicies(roleCalled(arn))),
    setInlinePolicy: (arn, name, text) => {
      const versions = roleCalled(arn).inline.get(name) ?? [];
      roleCalled(arn).inline.set(name, [...versions, { at: state.clock.now().getTime(), text }]);
    },
    sessions: () =>
      [...state.principals.values()].flatMap(({ arn, session }) =>
        session === null
          ? []
          : [
              {
                arn,
                sourceIdentity: session.sourceIdentity,
                tags: session.tags,
                policy: session.policy,
                policyArns: session.managed.map((one) => one.arn),
              },
            ],
      ),
    allows: (sessionArn, action, resource) =>
      [...state.principals.values()].some((principal) => {
        if (principal.arn !== sessionArn || principal.session === null) return false;
        if (state.clock.now().getTime() >= principal.session.expiresAt) return false;
        try {
          authorize(state, principal, action, resource);
          return true;
        } catch {
          return false;
        }
      }),
    setManagedPolicy: (arn, index, policy) => {
      roleCalled(arn).managed[index]?.versions.push(policy);
    },
    setRole: (arn, change) => {
      Object.assign(roleCalled(arn), change);
    },
    setObject: (bucket, key, text) => {
      const objects = state.buckets.get(bucket);
      if (objects === undefined) throw new Error(`no such bucket: ${bucket}`);
      if (text === null) removeObject(state, bucket, objects, key);
      else objects.set(key, storedObject(Buffer.from(text), options.clock.now(), state.versioned.has(bucket)));
    },
    openUploads: () => state.uploads.size,
    object: (bucket, key) => liveObject(state.buckets.get(bucket)?.get(key))?.body.toString('utf8') ?? null,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  state: State,
  faults: Map<string, { fault: Fault; left: number }>,
  incoming: IncomingMessage,
): Promise<WireAnswer | 'hang'> {
  const request = await read(incoming);
  const service = scopeOf(request)?.service ?? (request.method === 'POST' && request.path === '/' ? 'sts' : 's3');
  const form = new URLSearchParams(service === 'sts' || service === 'iam' ? request.body.toString('utf8') : '');
  const action = form.get('Action') ?? (service === 's3' ? 'S3' : (request.headers['x-amz-target'] ?? ''));
  try {
    if (service === 'sts' || service === 'iam') state.onAction(action);
    const planned = faults.get(action);
    if (planned !== undefined && planned.left > 0) {
      planned.left -= 1;
      if (planned.fault === 'hang') return 'hang';
      if ('bare' in planned.fault) return { status: planned.fault.bare, headers: {}, body: '<html>…</html>' };
      if ('code' in planned.fault) {
        const { code, status, message = 'An injected fault.', retryAfterSeconds } = planned.fault;
        const refusal = new AwsError(code, status, message);
        const wait = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) };
        const said = service === 's3' ? s3Error(refusal) : queryError(refusal);
        return { ...said, headers: { ...said.headers, ...wait } };
      }
      const told = await dispatch(state, request, service, action, form);
      return { ...told, body: oddly(String(told.body), planned.fault.saying) };
    }
    return await dispatch(state, request, service, action, form);
  } catch (error) {
    const refusal =
      error instanceof AwsError ? error : new AwsError('InternalFailure', 500, 'The sandbox itself failed.');
    if (service === 's3') return s3Error(refusal);
    if (service === 'iam' && refusal.code === 'NoSuchEntity' && state.bareNotFound)
      return { status: 404, headers: {}, body: '' };
    return service === 'sts' || service === 'iam' ? queryError(refusal) : jsonError(refusal);
  }
}

async function dispatch(
  state: State,
  request: WireRequest,
  service: string,
  action: string,
  form: URLSearchParams,
): Promise<WireAnswer> {
  if (action === 'AssumeRoleWithWebIdentity') return assumeRoleWithWebIdentity(state, form);
  if (service === 's3' && request.headers.authorization === undefined)
    throw new AwsError('AccessDenied', 403, 'Access Denied');
  const signed = verifySignature(state, request);
  if (service === 's3') return s3(state, request, signed.principal);
  if (service === 'iam') return iam(state, action, form, signed.principal);
  if (service === 'dynamodb' || service === 'sqs' || service === 'secretsmanager')
    return dataService(state, request, signed);
  if (action === 'AssumeRole') return assumeRole(state, form, signed.principal);
  if (action === 'GetCallerIdentity') return getCallerIdentity(signed.principal);
  throw new AwsError('InvalidAction', 400, `Could not find operation ${action}`);
}

async function read(incoming: IncomingMessage): Promise<WireRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const [path = '/', query = ''] = (incoming.url ?? '/').split('?', 2);
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(incoming.headers)) headers[name] = [value ?? ''].flat().join(',');
  return {
    method: incoming.method ?? 'GET',
    path,
    query: new URLSearchParams(query),
    headers,
    body: Buffer.concat(chunks),
  };
}

/** The Date header follows the sandbox's clock: the SDK corrects its own skew by it. */
function send(outgoing: ServerResponse, { status, headers, body }: WireAnswer, clock: Clock): void {
  outgoing.writeHead(status, { date: clock.now().toUTCString(), ...headers });
  outgoing.end(body);
}

function initialState(options: AwsSandboxOptions): State {
  const roles = (options.roles ?? []).map((role): Role => {
    for (const policy of [...role.policies, ...Object.values(role.inline ?? {})]) parsePolicy(JSON.stringify(policy));
    const [, , , , account = '', path = ''] = role.arn.split(':');
    return {
      arn: role.arn,
      name: path.split('/').at(-1) ?? '',
      account,
      id: randomName('AROA', 21),
      trust: role.trust,
      maxSessionSeconds: role.maxSessionSeconds ?? 3600,
      managed: role.policies.map((policy, index) => ({
        arn: `arn:aws:iam::${account}:policy/${path.split('/').at(-1)}-${index}`,
        versions: [policy],
      })),
      inline: new Map(
        Object.entries(role.inline ?? {}).map(([name, policy]) => [
          name,
          [{ at: Number.NEGATIVE_INFINITY, text: JSON.stringify(policy) }],
        ]),
      ),
    };
  });
  const users = (options.users ?? []).map(
    (user): Principal => ({
      ...user,
      account: user.arn.split(':')[4] ?? '',
      userId: randomName('AIDA', 21),
      session: null,
    }),
  );
  const now = options.clock.now();
  const versioned = new Set(options.versioned);
  const bucket = (name: string, objects: Record<string, string>) =>
    new Map(
      Object.entries(objects).map(([key, text]) => [key, storedObject(Buffer.from(text), now, versioned.has(name))]),
    );
  return {
    clock: options.clock,
    issuers: new Map(
      Object.entries(options.issuers ?? {}).map(([issuer, at]) => [
        issuer,
        typeof at === 'string' ? { jwksUrl: at, audiences: ['sts.amazonaws.com'] } : at,
      ]),
    ),
    roles: new Map(roles.map((role) => [role.arn, role])),
    principals: new Map(users.map((user) => [user.accessKeyId, user])),
    buckets: new Map(Object.entries(options.buckets ?? {}).map(([name, objects]) => [name, bucket(name, objects)])),
    versioned,
    encrypted: new Map(Object.entries(options.encrypted ?? {})),
    uploads: new Map(),
    managedPolicies: new Map(Object.entries(options.managedPolicies ?? {})),
    tables: new Map(
      Object.entries(options.tables ?? {}).map(([name, table]) => [
        name,
        { partitionKey: table.partitionKey, items: new Map(Object.entries(table.items ?? {})) },
      ]),
    ),
    queues: new Map((options.queues ?? []).map((arn) => [arn, []])),
    secrets: new Map(Object.entries(options.secrets ?? {})),
    denyLagMs: options.denyLagMs ?? 0,
    sourceIdentityHonoured: options.sourceIdentityHonoured ?? true,
    matcher: options.matcher ?? 'whole',
    bareNotFound: options.missingPolicy === 'bare',
    onAction: options.onAction ?? (() => {}),
  };
}
