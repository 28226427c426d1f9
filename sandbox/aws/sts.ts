/** STS: who may assume a role, and the session that comes of it. */
import { randomBytes } from 'node:crypto';
import { AwsError, accessDenied } from './errors.ts';
import type { Context } from './patterns.ts';
import { type PolicyDocument, parsePolicy, trusts } from './policy.ts';
import { authorize, type Principal, principalContext, type Role, randomName, type State } from './state.ts';
import { checkTags, verifyWebIdentity } from './web-identity.ts';
import { queryAnswer, type WireAnswer, type XmlRecord } from './wire.ts';

const namespace = 'https://sts.amazonaws.com/doc/2011-06-15/';
const answer = (action: string, result: XmlRecord) => queryAnswer(action, namespace, result);
const invalid = (why: string) => new AwsError('ValidationError', 400, why);

/** The one call that needs no signature: the token is the proof. */
export async function assumeRoleWithWebIdentity(state: State, form: URLSearchParams): Promise<WireAnswer> {
  const action = 'AssumeRoleWithWebIdentity';
  const asked = readRequest(form);
  const account = asked.roleArn.split(':')[4] ?? '';
  const identity = await verifyWebIdentity(state, form.get('WebIdentityToken') ?? '', account);
  const role = state.roles.get(asked.roleArn);
  const context: Context = {
    [`${identity.issuer}:sub`.toLowerCase()]: [identity.subject],
    [`${identity.issuer}:aud`.toLowerCase()]: [identity.audience],
    ...requestContext(identity.tags, identity.sourceIdentity),
  };
  const managed = managedIn(state, asked, identity.tags);
  // One answer for an unknown role and for one that trusts somebody else: what exists is not told.
  for (const needed of neededActions(action, identity.tags, identity.sourceIdentity))
    if (role === undefined || !trusts(role.trust, 'Federated', identity.federated, needed, context))
      throw new AwsError('AccessDenied', 403, `Not authorized to perform ${needed}`);
  return answer(action, {
    SubjectFromWebIdentityToken: identity.subject,
    Audience: identity.audience,
    Provider: identity.federated,
    ...open(state, role as Role, { ...asked, managed }, identity.tags, identity.sourceIdentity),
  });
}

export function assumeRole(state: State, form: URLSearchParams, caller: Principal): WireAnswer {
  const action = 'AssumeRole';
  const asked = readRequest(form);
  const role = state.roles.get(asked.roleArn);
  const tags = tagsIn(form);
  checkTags(tags);
  const sourceIdentity = form.get('SourceIdentity');
  if (sourceIdentity !== null && !/^[\w+=,.@-]{2,64}$/.test(sourceIdentity)) throw invalid('Invalid SourceIdentity.');
  if (caller.session !== null && asked.seconds > 3600)
    throw invalid('The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.');
  const externalId = form.get('ExternalId');
  if (externalId !== null && !/^[\w+=,.@:/-]{2,1224}$/.test(externalId)) throw invalid('Invalid ExternalId.');
  const managed = managedIn(state, asked, tags);
  const context = {
    ...principalContext(caller, state),
    ...requestContext(tags, sourceIdentity),
    ...(externalId === null ? {} : { 'sts:externalid': [externalId] }),
  };
  const principal = caller.session?.role.arn ?? caller.arn;
  for (const needed of neededActions(action, tags, sourceIdentity)) {
    if (role === undefined || !trusts(role.trust, 'AWS', principal, needed, context))
      throw accessDenied(caller.arn, `sts:${needed.slice(4)}`, asked.roleArn);
    authorize(state, caller, needed, asked.roleArn, requestContext(tags, sourceIdentity));
  }
  return answer(
    action,
    open(state, role as Role, { ...asked, managed }, tags, sourceIdentity ?? caller.session?.sourceIdentity ?? null),
  );
}

/** Needs no permission, and no policy can deny it. */
export const getCallerIdentity = (caller: Principal): WireAnswer =>
  answer('GetCallerIdentity', { Arn: caller.arn, UserId: caller.userId, Account: caller.account });

interface Asked {
  roleArn: string;
  sessionName: string;
  seconds: number;
  policy: PolicyDocument | null;
  policyText: string;
  policyArns: string[];
}

type Managed = NonNullable<Principal['session']>['managed'];

/** All that is packed into a session: the real limit is in bytes that nobody outside of AWS can count. */
const packedLimit = 4096;

function managedIn(state: State, asked: Asked, tags: Record<string, string>): Managed {
  const packed = [asked.policyText, ...asked.policyArns, ...Object.entries(tags).flat()].join('').length;
  if (packed > packedLimit)
    throw new AwsError('PackedPolicyTooLarge', 400, 'Packed size of policies and tags exceeds the limit.');
  return asked.policyArns.map((arn) => {
    const document = state.managedPolicies.get(arn);
    if (document === undefined) throw invalid(`The policy ${arn} does not exist.`);
    return { arn, document };
  });
}

function readRequest(form: URLSearchParams): Asked {
  const roleArn = form.get('RoleArn') ?? '';
  if (roleArn.length < 20 || roleArn.length > 2048) throw invalid("Value at 'roleArn' failed to satisfy constraint.");
  const sessionName = form.get('RoleSessionName') ?? '';
  if (!/^[\w+=,.@-]{2,64}$/.test(sessionName))
    throw invalid("Value at 'roleSessionName' failed to satisfy constraint.");
  const seconds = Number(form.get('DurationSeconds') ?? '3600');
  if (!Number.isInteger(seconds) || seconds < 900 || seconds > 43_200)
    throw invalid("Value at 'durationSeconds' failed to satisfy constraint: between 900 and 43200.");
  const policyText = form.get('Policy') ?? '';
  if (policyText.length > 2048)
    throw invalid("Value at 'policy' failed to satisfy constraint: Member must have length less than or equal to 2048");
  const policyArns: string[] = [];
  for (let member = 1; form.has(`PolicyArns.member.${member}.arn`); member += 1)
    policyArns.push(form.get(`PolicyArns.member.${member}.arn`) ?? '');
  if (policyArns.length > 10) throw invalid("Value at 'policyArns' failed to satisfy constraint: at most 10.");
  if (policyText.length + policyArns.join('').length > 2048)
    throw invalid('The plaintext of inline and managed session policies must not exceed 2048 characters.');
  return {
    policyArns,
    roleArn,
    sessionName,
    seconds,
    policy: policyText === '' ? null : parsePolicy(policyText),
    policyText,
  };
}

function open(
  state: State,
  role: Role,
  asked: Asked & { managed: Managed },
  tags: Record<string, string>,
  sourceIdentity: string | null,
): XmlRecord {
  if (asked.seconds > role.maxSessionSeconds)
    throw invalid('The requested DurationSeconds exceeds the MaxSessionDuration set for this role.');
  const issuedAt = state.clock.now().getTime();
  const session: NonNullable<Principal['session']> = {
    role,
    token: randomBytes(96).toString('base64'),
    issuedAt,
    expiresAt: issuedAt + asked.seconds * 1000,
    policy: asked.policy,
    managed: asked.managed,
    sourceIdentity,
    tags,
  };
  const principal: Principal = {
    accessKeyId: randomName('ASIA', 20),
    secretAccessKey: randomBytes(30).toString('base64'),
    arn: `arn:aws:sts::${role.account}:assumed-role/${role.name}/${asked.sessionName}`,
    account: role.account,
    userId: `${role.id}:${asked.sessionName}`,
    session,
    policies: [],
  };
  state.principals.set(principal.accessKeyId, principal);
  return {
    AssumedRoleUser: { Arn: principal.arn, AssumedRoleId: principal.userId },
    Credentials: {
      AccessKeyId: principal.accessKeyId,
      SecretAccessKey: principal.secretAccessKey,
      SessionToken: session.token,
      Expiration: new Date(session.expiresAt).toISOString().replace(/\.\d{3}Z$/, 'Z'),
    },
    PackedPolicySize: Math.round((asked.policyText.length / 2048) * 100),
    // A gateway that does not honour SourceIdentity does not echo it either.
    SourceIdentity: state.sourceIdentityHonoured ? (sourceIdentity ?? undefined) : undefined,
  };
}

function neededActions(action: string, tags: Record<string, string>, sourceIdentity: string | null): string[] {
  const needed = [`sts:${action}`];
  if (Object.keys(tags).length > 0) needed.push('sts:TagSession');
  if (sourceIdentity !== null) needed.push('sts:SetSourceIdentity');
  return needed;
}

function requestContext(tags: Record<string, string>, sourceIdentity: string | null): Context {
  const context: Context = {};
  for (const [key, value] of Object.entries(tags)) context[`aws:requesttag/${key.toLowerCase()}`] = [value];
  if (sourceIdentity !== null) context['sts:sourceidentity'] = [sourceIdentity];
  return context;
}

function tagsIn(form: URLSearchParams): Record<string, string> {
  const tags: Record<string, string> = {};
  for (let member = 1; form.has(`Tags.member.${member}.Key`); member += 1)
    tags[form.get(`Tags.member.${member}.Key`) ?? ''] = form.get(`Tags.member.${member}.Value`) ?? '';
  return tags;
}
