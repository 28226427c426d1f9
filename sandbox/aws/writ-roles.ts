/**
 * The roles that a deployment of Writ makes in its AWS account, as `infra/terraform/aws` does: what agents'
 * sessions are cut from, and what writes denials.
 */
import type { SandboxRole } from './start.ts';

export interface WritRoles {
  /** URL of the broker as OIDC issuer. */
  issuer: string;
  /** ARN of the role that capabilities name, and all it may ever do. */
  agentRole: string;
  actions: string[];
  /** ARN of WRIT_AWS_REVOKE_ROLE. */
  revokeRole: string;
}

/**
 * Agents' tokens (`agent:…`) may take the first role, and the broker's own that reads state (`writ:state`);
 * the broker's `writ:revoker` takes the second, which may write the first one's inline policies and read the
 * others.
 */
export function writRoles({ issuer, agentRole, actions, revokeRole }: WritRoles): SandboxRole[] {
  const name = issuer.replace(/^https?:\/\//, '').replace(/\/$/, '');
  const provider = `arn:aws:iam::${agentRole.split(':')[4]}:oidc-provider/${name}`;
  const trust = (subjects: string[], also: string[]): SandboxRole['trust'] => ({
    Version: '2012-10-17',
    Statement: {
      Effect: 'Allow',
      Principal: { Federated: provider },
      Action: ['sts:AssumeRoleWithWebIdentity', ...also],
      Condition: {
        StringEquals: { [`${name}:aud`]: 'sts.amazonaws.com' },
        StringLike: { [`${name}:sub`]: subjects },
      },
    },
  });
  const allowed = (Action: string[], Resource: string) => ({ Effect: 'Allow' as const, Action, Resource });
  const allow = (...Statement: ReturnType<typeof allowed>[]) => ({ Version: '2012-10-17', Statement });
  const writing = ['iam:PutRolePolicy', 'iam:GetRolePolicy', 'iam:DeleteRolePolicy', 'iam:ListRolePolicies'];
  return [
    {
      arn: agentRole,
      trust: trust(['agent:*', 'writ:state'], ['sts:TagSession', 'sts:SetSourceIdentity']),
      policies: [allow(allowed(actions, '*'))],
    },
    {
      arn: revokeRole,
      trust: trust(['writ:revoker'], []),
      policies: [
        allow(
          allowed(writing, agentRole),
          allowed(['iam:ListAttachedRolePolicies'], agentRole),
          allowed(['iam:GetPolicy'], '*'),
        ),
      ],
    },
  ];
}
