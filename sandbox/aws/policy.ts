/** Policy documents: checked when they are written, evaluated on every request. */
import { type ConditionBlock, conditionHolds, conditionIsWellFormed } from './conditions.ts';
import { AwsError } from './errors.ts';
import { actionMatches, type Context, like } from './patterns.ts';

export interface Statement {
  Sid?: string;
  Effect: 'Allow' | 'Deny';
  Action?: string | string[];
  NotAction?: string | string[];
  Resource?: string | string[];
  NotResource?: string | string[];
  /** Trust policies only. */
  Principal?: Record<string, string | string[]> | '*';
  Condition?: ConditionBlock;
}

export interface PolicyDocument {
  Version?: string;
  Statement: Statement | Statement[];
}

export interface AccessRequest {
  action: string;
  resource: string;
  context: Context;
}

const malformed = (why: string) => new AwsError('MalformedPolicyDocument', 400, why);
const known = new Set(['Sid', 'Effect', 'Action', 'NotAction', 'Resource', 'NotResource', 'Principal', 'Condition']);

export const statementsOf = (document: PolicyDocument): Statement[] => [document.Statement].flat();

/** Parses a permission policy (role's or session's). Throws MalformedPolicyDocument, as IAM and STS do. */
export function parsePolicy(text: string): PolicyDocument {
  // The character set of the parameter in STS's and IAM's service models.
  if (!/^[\t\n\r -\u00ff]+$/.test(text))
    throw new AwsError('ValidationError', 400, 'The policy contains characters that are not allowed.');
  let document: PolicyDocument;
  try {
    document = JSON.parse(text);
  } catch {
    throw malformed('The policy is not valid JSON.');
  }
  if (typeof document !== 'object' || document === null || document.Statement === undefined)
    throw malformed('Missing required field Statement.');
  if (document.Version !== '2012-10-17' && document.Version !== '2008-10-17' && document.Version !== undefined)
    throw malformed('The policy must contain a valid version string.');
  for (const statement of statementsOf(document)) checkStatement(statement);
  return document;
}

function checkStatement(statement: Statement): void {
  if (statement.Effect !== 'Allow' && statement.Effect !== 'Deny') throw malformed('Invalid effect.');
  const stranger = Object.keys(statement).find((key) => !known.has(key));
  if (stranger !== undefined) throw malformed(`Unknown element ${stranger}.`);
  if (statement.Principal !== undefined) throw malformed('Policy document should not specify a principal.');
  if ((statement.Action === undefined) === (statement.NotAction === undefined))
    throw malformed('Policy statement must contain actions.');
  if ((statement.Resource === undefined) === (statement.NotResource === undefined))
    throw malformed('Policy statement must contain resources.');
  for (const action of [statement.Action ?? statement.NotAction ?? []].flat())
    if (action !== '*' && !/^[A-Za-z0-9-]+:[A-Za-z0-9*?]+$/.test(action))
      throw malformed('Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.');
  for (const resource of [statement.Resource ?? statement.NotResource ?? []].flat())
    if (resource !== '*' && !/^arn:[^:]*:[^:]*:[^:]*:[^:]*:[\s\S]+$/.test(resource))
      throw malformed(`Resource ${resource} must be in ARN format or "*".`);
  if (statement.Condition !== undefined && !conditionIsWellFormed(statement.Condition))
    throw malformed('Invalid condition block.');
}

/** What one set of policies says about a request: an explicit deny beats any allow. */
export function evaluate(documents: PolicyDocument[], request: AccessRequest): 'allow' | 'deny' | 'none' {
  const applying = documents.flatMap(statementsOf).filter((statement) => applies(statement, request));
  if (applying.some((statement) => statement.Effect === 'Deny')) return 'deny';
  return applying.length > 0 ? 'allow' : 'none';
}

function applies(statement: Statement, { action, resource, context }: AccessRequest): boolean {
  const actions = (list: string | string[]) => [list].flat().some((pattern) => actionMatches(pattern, action));
  const resources = (list: string | string[]) => [list].flat().some((pattern) => like(pattern, resource, context));
  if (statement.Action !== undefined ? !actions(statement.Action) : actions(statement.NotAction ?? '*')) return false;
  if (statement.Resource !== undefined && !resources(statement.Resource)) return false;
  if (statement.NotResource !== undefined && resources(statement.NotResource)) return false;
  return statement.Condition === undefined || conditionHolds(statement.Condition, context);
}

/** Does a role's trust policy let `principal` (an issuer's or a caller's ARN) do `action`? */
export function trusts(
  trust: PolicyDocument,
  kind: 'Federated' | 'AWS',
  principal: string,
  action: string,
  context: Context,
): boolean {
  const matching = statementsOf(trust).filter((statement) => {
    const named = statement.Principal === '*' ? ['*'] : [statement.Principal?.[kind] ?? []].flat();
    const known = named.some((name) => name === '*' || name === principal || name === rootOf(principal));
    return known && applies({ ...statement, Resource: '*' }, { action, resource: '*', context });
  });
  return matching.length > 0 && matching.every((statement) => statement.Effect === 'Allow');
}

/** Naming an account's root in a trust policy means "whoever that account allows". */
const rootOf = (arn: string) => `arn:aws:iam::${arn.split(':')[4]}:root`;
