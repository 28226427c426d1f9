/** IAM: a role's inline policies, which revocation writes, and the attached ones, which are only read. */
import { AwsError } from './errors.ts';
import { parsePolicy } from './policy.ts';
import { authorize, inlinePolicies, type Principal, type Role, type State } from './state.ts';
import { queryAnswer, type WireAnswer, type XmlRecord } from './wire.ts';

const answer = (action: string, result: XmlRecord | null) =>
  queryAnswer(action, 'https://iam.amazonaws.com/doc/2010-05-08/', result);

/**
 * All inline policies of a role together, white space not counted (IAM user guide, "IAM and AWS STS quotas").
 */
const aggregateLimit = 10_240;

export function iam(state: State, action: string, form: URLSearchParams, caller: Principal): WireAnswer {
  if (action === 'GetPolicy') return getPolicy(state, form.get('PolicyArn') ?? '', caller);
  const roleName = form.get('RoleName') ?? '';
  const role = [...state.roles.values()].find((each) => each.name === roleName && each.account === caller.account);
  // Authorised on the ARN before existence is told.
  authorize(state, caller, `iam:${action}`, role?.arn ?? `arn:aws:iam::${caller.account}:role/${roleName}`);
  if (role === undefined) throw noSuchEntity(`The role with name ${roleName} cannot be found.`);
  const name = form.get('PolicyName') ?? '';
  if (action === 'ListRolePolicies')
    return answer(action, { PolicyNames: { member: [...inlinePolicies(role).keys()] }, IsTruncated: false });
  if (action === 'ListAttachedRolePolicies') {
    const member = role.managed.map(({ arn }) => ({ PolicyName: arn.split('/').at(-1) ?? '', PolicyArn: arn }));
    return answer(action, { AttachedPolicies: { member }, IsTruncated: false });
  }
  if (!/^[\w+=,.@-]{1,128}$/.test(name)) throw new AwsError('ValidationError', 400, 'Invalid PolicyName.');
  if (action === 'PutRolePolicy') return put(state, role, name, form.get('PolicyDocument') ?? '');
  const text = inlinePolicies(role).get(name);
  if (text === undefined) throw noSuchEntity(`The role policy with name ${name} cannot be found.`);
  if (action === 'GetRolePolicy')
    return answer(action, { RoleName: roleName, PolicyName: name, PolicyDocument: encodeURIComponent(text) });
  if (action === 'DeleteRolePolicy') {
    write(state, role, name, null);
    return answer(action, null);
  }
  throw new AwsError('InvalidAction', 400, `Could not find operation ${action}`);
}

function getPolicy(state: State, arn: string, caller: Principal): WireAnswer {
  authorize(state, caller, 'iam:GetPolicy', arn);
  const policy = [...state.roles.values()].flatMap(({ managed }) => managed).find((each) => each.arn === arn);
  if (policy === undefined) throw noSuchEntity(`Policy ${arn} does not exist or is not attachable.`);
  const DefaultVersionId = `v${policy.versions.length}`;
  return answer('GetPolicy', { Policy: { PolicyName: arn.split('/').at(-1) ?? '', Arn: arn, DefaultVersionId } });
}

function put(state: State, role: Role, name: string, text: string): WireAnswer {
  parsePolicy(text);
  const others = [...inlinePolicies(role)].filter(([other]) => other !== name).map(([, other]) => other);
  const total = [...others, text].reduce((sum, each) => sum + each.replace(/\s/g, '').length, 0);
  if (total > aggregateLimit)
    throw new AwsError(
      'LimitExceeded',
      409,
      `Maximum policy size of ${aggregateLimit} bytes exceeded for role ${role.name}`,
    );
  write(state, role, name, text);
  return answer('PutRolePolicy', null);
}

function write(state: State, role: Role, name: string, text: string | null): void {
  const versions = role.inline.get(name) ?? [];
  role.inline.set(name, [...versions, { at: state.clock.now().getTime(), text }]);
}

const noSuchEntity = (why: string) => new AwsError('NoSuchEntity', 404, why);
