/**
 * A role's policies as they are: those attached to it, by the version in force, and its own. Read by whoever
 * writes its denials; the denials themselves are left out.
 */
import { createHash } from 'node:crypto';
import { GetPolicyCommand, type IAMClient, ListAttachedRolePoliciesCommand } from '@aws-sdk/client-iam';
import { ProviderError } from '../contract.ts';
import { call, eachOtherPolicy, listed, nameOf } from './role-policy.ts';

/** AWS attaches at most 20 to a role; more of its own nobody compares. */
const mostPolicies = 40;

export interface SeenRole {
  /** Null: the store knows no policies that are attached. */
  attached: { policy: string; version: string }[] | null;
  own: { name: string; sha256: string }[];
}

/** @throws ProviderError */
export async function readRole(iam: IAMClient, role: string, signal: AbortSignal): Promise<SeenRole> {
  const own: SeenRole['own'] = [];
  for await (const { name, text } of eachOtherPolicy(iam, role, signal)) {
    own.push({ name, sha256: createHash('sha256').update(text).digest('hex') });
    if (own.length > mostPolicies) throw tooMany();
  }
  const attached = await readAttached(iam, role, signal);
  return { attached, own: own.sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

async function readAttached(iam: IAMClient, role: string, signal: AbortSignal): Promise<SeenRole['attached']> {
  const arns: string[] = [];
  for (let marker: string | undefined, more = true; more; ) {
    const request = { RoleName: nameOf(role), ...(marker === undefined ? {} : { Marker: marker }) };
    const page = await call('iam:ListAttachedRolePolicies', signal, () =>
      iam
        .send(new ListAttachedRolePoliciesCommand(request), { abortSignal: signal })
        .catch((error) => (knowsNone(error) ? null : Promise.reject(error))),
    );
    if (page === null) return null;
    const attachedHere = listed(page.AttachedPolicies, 'iam:ListAttachedRolePolicies');
    arns.push(...attachedHere.map(({ PolicyArn }) => PolicyArn ?? ''));
    if (arns.length > mostPolicies) throw tooMany();
    marker = page.Marker;
    more = page.IsTruncated === true && marker !== undefined;
  }
  const attached: { policy: string; version: string }[] = [];
  for (const policy of arns.sort()) {
    const { Policy } = await call('iam:GetPolicy', signal, () =>
      iam.send(new GetPolicyCommand({ PolicyArn: policy }), { abortSignal: signal }),
    );
    if (Policy?.Arn !== policy || Policy.DefaultVersionId === undefined)
      throw new ProviderError('upstream_mismatch', 'IAM does not tell which version of a policy is in force');
    attached.push({ policy, version: Policy.DefaultVersionId });
  }
  return attached;
}

/** A store that has no such action, as Ceph's before managed policies; IAM itself has. */
const knowsNone = (error: { name?: string; $metadata?: { httpStatusCode?: number } }) =>
  error.name === 'InvalidAction' || [405, 501].includes(error.$metadata?.httpStatusCode ?? 0);

const tooMany = () => new ProviderError('upstream_refused', `The role has more than ${mostPolicies} policies`);

/** In words, a line for each policy. Pure. */
export function roleInWords(role: string, { attached, own }: SeenRole): string[] {
  const name = nameOf(role);
  const lines = [
    ...(attached ?? []).map(({ policy, version }) => `The role ${name} as it is: ${policy} at ${version} is attached`),
    ...own.map(
      (policy) => `The role ${name} as it is: its own policy ${policy.name}, SHA-256 ${policy.sha256.slice(0, 12)}`,
    ),
  ];
  return lines.length === 0 ? [`The role ${name} as it is: it has no policy`] : lines;
}
