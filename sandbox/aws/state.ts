/** Everything the sandbox remembers, and what it knows about whoever signed a request. */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../broker/core/vocabulary.ts';
import { accessDenied } from './errors.ts';
import { type Context, type Matcher, matcherKey } from './patterns.ts';
import { evaluate, type PolicyDocument, parsePolicy } from './policy.ts';

export interface Role {
  arn: string;
  name: string;
  account: string;
  /** The unique id in `aws:userid`. */
  id: string;
  trust: PolicyDocument;
  maxSessionSeconds: number;
  /** Attached policies, each with its versions: the latest is in force. */
  managed: { arn: string; versions: PolicyDocument[] }[];
  /**
   * Every version of every inline policy: the latest is what IAM shows, the latest older than the lag is what
   * is enforced.
   */
  inline: Map<string, { at: number; text: string | null }[]>;
}

/** Whoever holds an access key: a user for good, or one session of a role. */
export interface Principal {
  accessKeyId: string;
  secretAccessKey: string;
  arn: string;
  account: string;
  userId: string;
  session: {
    role: Role;
    token: string;
    issuedAt: number;
    expiresAt: number;
    policy: PolicyDocument | null;
    /** Managed policies of the session: what any of all its policies allows is allowed. */
    managed: { arn: string; document: PolicyDocument }[];
    sourceIdentity: string | null;
    tags: Record<string, string>;
  } | null;
  /** Users only. */
  policies: PolicyDocument[];
}

export interface Issuer {
  jwksUrl: string;
  /** The client ids registered with IAM's OIDC provider; a token for anybody else is refused. */
  audiences: string[];
}

export interface StoredObject {
  body: Buffer;
  modified: Date;
  contentType: string;
  /** Null where the bucket keeps none. */
  version: string | null;
  /** Deleted in a bucket that keeps versions. */
  marker?: true;
}

export interface State {
  clock: Clock;
  issuers: Map<string, Issuer>;
  roles: Map<string, Role>;
  principals: Map<string, Principal>;
  buckets: Map<string, Map<string, StoredObject>>;
  /** Buckets that keep versions: an object's is told, and a deletion leaves a marker. */
  versioned: ReadonlySet<string>;
  /** Bucket → ARN of the key that it is encrypted with. */
  encrypted: Map<string, string>;
  /** Uploads in parts that are neither done nor given up, by their id. */
  uploads: Map<string, { bucket: string; key: string; parts: Map<number, Buffer> }>;
  /** Policies that sessions may be given by their ARN. */
  managedPolicies: Map<string, PolicyDocument>;
  tables: Map<string, { partitionKey: string; items: Map<string, Record<string, unknown>> }>;
  queues: Map<string, string[]>;
  secrets: Map<string, string>;
  denyLagMs: number;
  sourceIdentityHonoured: boolean;
  matcher: Matcher;
  /** A missing policy is told by a 404 without a code. */
  bareNotFound: boolean;
  onAction(action: string): void;
}

export const randomName = (prefix: string, length: number) => {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  return prefix + Array.from(randomBytes(length - prefix.length), (byte) => letters[byte & 31]).join('');
};

/** What IAM shows now: the latest version of each inline policy that exists. */
export function inlinePolicies(role: Role): Map<string, string> {
  const shown = new Map<string, string>();
  for (const [name, versions] of role.inline) {
    const text = versions.at(-1)?.text;
    if (text !== null && text !== undefined) shown.set(name, text);
  }
  return shown;
}

/** What is enforced now: changes younger than the lag have not arrived yet. */
function enforcedPolicies(role: Role, state: State): PolicyDocument[] {
  const horizon = state.clock.now().getTime() - state.denyLagMs;
  const texts = [...role.inline.values()].map((versions) => versions.findLast((v) => v.at <= horizon)?.text ?? null);
  const managed = role.managed.flatMap(({ versions }) => versions.slice(-1));
  return [...managed, ...texts.filter((text) => text !== null).map(parsePolicy)];
}

/** The global condition keys of a request by this principal. */
export function principalContext(principal: Principal, state: State): Context {
  const now = state.clock.now();
  const context: Context = {
    [matcherKey]: [state.matcher],
    'aws:currenttime': [now.toISOString()],
    'aws:epochtime': [String(Math.floor(now.getTime() / 1000))],
    'aws:userid': [principal.userId],
    'aws:principalarn': [principal.session?.role.arn ?? principal.arn],
    'aws:principalaccount': [principal.account],
    'aws:securetransport': ['false'],
  };
  if (principal.session === null) return context;
  // AWS counts the issue time of a token in whole seconds.
  const issued = new Date(Math.floor(principal.session.issuedAt / 1000) * 1000);
  context['aws:tokenissuetime'] = [issued.toISOString()];
  if (principal.session.sourceIdentity !== null && state.sourceIdentityHonoured)
    context['aws:sourceidentity'] = [principal.session.sourceIdentity];
  for (const [key, value] of Object.entries(principal.session.tags))
    context[`aws:principaltag/${key.toLowerCase()}`] = [value];
  return context;
}

/** Throws AccessDenied unless role policies ∩ session policy allow the request and nothing denies it. */
export function authorize(
  state: State,
  principal: Principal,
  action: string,
  resource: string,
  extra: Context = {},
): void {
  const request = { action, resource, context: { ...principalContext(principal, state), ...extra } };
  const layers = [principal.session === null ? principal.policies : enforcedPolicies(principal.session.role, state)];
  const { policy = null, managed = [] } = principal.session ?? {};
  const ofSession = [...(policy === null ? [] : [policy]), ...managed.map(({ document }) => document)];
  if (ofSession.length > 0) layers.push(ofSession);
  if (!layers.every((documents) => evaluate(documents, request) === 'allow'))
    throw accessDenied(principal.arn, action, resource);
}
