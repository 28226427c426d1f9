/**
 * What people read about a grant, from its manifest and its provider: for the pages of the API and for the
 * notices of the worker alike.
 */

import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type {
  AboutGrant,
  ApproversOf,
  DescribePlan,
  GrantRef,
  LevelsOf,
  NarrowPlan,
  TermsOf,
} from '../../approvals/contract.ts';
import { WritError } from '../core/errors.ts';
import { decidedAs } from '../core/questions.ts';
import type { Json } from '../core/vocabulary.ts';
import { levelsOf, narrowedPlan } from '../grants/narrow-plan.ts';
import { describeQuestion } from '../grants/question.ts';
import { approvalConfig, approvalTerms } from '../manifests/approval-terms.ts';
import { type Capability, capabilityOwner, type Manifest, member } from '../manifests/manifest.ts';
import type { Parts } from './parts.ts';

export interface GrantAboutSources {
  describePlan: DescribePlan;
  approversOf: ApproversOf;
  aboutGrant: AboutGrant;
  termsOf: TermsOf;
  minTtlSeconds(provider: string): number;
  narrowPlan: NarrowPlan;
  canNarrow(provider: string): boolean;
  levelsOf: LevelsOf;
}

/** @param challengeAll every approval takes a challenge, whatever manifests say */
export function grantAbout(
  { catalog, providers }: Pick<Parts, 'catalog' | 'providers'>,
  challengeAll: boolean,
): GrantAboutSources {
  const manifestOf = async (grant: GrantRef) => {
    const { manifest } = (await catalog.version(grant.agent, grant.manifestVersion)).compiled;
    return {
      manifest,
      capability: member(manifest.capabilities, decidedAs(grant.capability)),
      task: member(manifest.task_types, grant.taskType),
    };
  };
  return {
    describePlan: (plan) => {
      const question = describeQuestion(plan);
      if (question !== null) return question;
      const provider = providers.get(plan.provider);
      if (provider === undefined)
        throw new WritError('unavailable', { detail: `The provider ${plan.provider} is not switched on.` });
      return provider.describe(plan);
    },
    approversOf: async (grant) => {
      const { manifest, capability } = await manifestOf(grant);
      const owners = capability === undefined ? [] : [capabilityOwner(manifest, capability)];
      return [...new Set([manifest.owner, ...owners])];
    },
    aboutGrant: async (grant) => {
      const { manifest, capability, task } = await manifestOf(grant);
      return {
        owner: manifest.owner,
        agentDescription: manifest.description,
        capabilityDescription: capability?.description,
        taskDescription: task?.description,
        approvedIn: capability?.slack === 'decide' ? ['slack'] : [],
        challenged: challengeAll || isChallenged(manifest, capability),
      };
    },
    termsOf: async (agent, name, taskType) => {
      const current = await catalog.current(agent);
      if (current === null) return null;
      const { manifest } = current.compiled;
      const capability = member(manifest.capabilities, name);
      const task = member(manifest.task_types, taskType);
      if (capability === undefined || task === undefined) return null;
      const said = canonicalize([approvalConfig(manifest, name), capability, task] as unknown as Json);
      const terms = approvalTerms(manifest, { capability: name, tier: true, rules: [] });
      return {
        digest: `sha256:${hash('sha256', said!, 'hex')}`,
        tier: capability.tier,
        challenged: challengeAll || isChallenged(manifest, capability),
        from: terms?.flatMap(({ from }) => from) ?? [manifest.owner, capabilityOwner(manifest, capability)],
        maxTtlSeconds: capability.max_ttl,
      };
    },
    narrowPlan: ({ params, plan }, leftOut, lowered) => {
      const provider = providers.get(plan.provider);
      if (provider === undefined)
        throw new WritError('unavailable', { detail: `The provider ${plan.provider} is not switched on.` });
      return narrowedPlan(provider, params, plan, leftOut, lowered);
    },
    levelsOf: ({ params, plan, left_out, lowered }) => {
      const provider = providers.get(plan.provider);
      return provider === undefined ? [] : levelsOf(provider, params, left_out, lowered);
    },
    canNarrow: (provider) => providers.get(provider)?.narrower !== undefined,
    minTtlSeconds: (provider) => providers.get(provider)?.limits.minTtlSeconds ?? 1,
  };
}

const isChallenged = (manifest: Manifest, capability: Capability | undefined): boolean =>
  capability?.approval?.challenge ?? manifest.approval?.challenge ?? false;
