/**
 * Every step of issue and of revoke, in order, as the broker takes them at each provider. The process is
 * killed after each of them: between it and the next. A run that is not killed must take exactly these
 * (`kill.test.ts`), so that a new step cannot go untried.
 */
import type { ProviderName } from './assertions.test-support.ts';

/** Minting upstream: what comes between the intent and the outcome. */
const mint: Record<ProviderName, string[]> = {
  // AssumeRoleWithWebIdentity.
  aws: ['sts'],
  github: ['POST access_tokens'],
  // The broker's own federated token, the account's token, the token cut down to the boundary.
  gcp: ['POST token', 'POST generateAccessToken', 'POST token'],
};

/** A process’s first look at the room for denials: a session of the revoke role, ListRolePolicies. */
const measure = ['sts', 'iam'];

const locked = (...work: string[]) => ['upstream_lock_take', ...work, 'upstream_lock_drop'];

export const table: Record<ProviderName, Record<Flow, string[]>> = {
  aws: {
    issue: [...measure, 'grant_intent_room', ...mint.aws, 'lease_outcome', 'answered'],
    redeem: [...measure, 'grant_claim', ...mint.aws, 'lease_outcome', 'answered'],
    revoke: [
      'session_end',
      'session_release_leases',
      'session_release_grants',
      'session_released',
      'lease_claim',
      // GetRolePolicy finds none; PutRolePolicy; GetRolePolicy reads it back.
      ...locked('iam', 'iam', 'lease_settle'),
      // The lag has passed: GetRolePolicy.
      'lease_claim',
      ...locked('iam', 'lease_settle'),
      // The credential has expired by itself: GetRolePolicy, DeleteRolePolicy.
      ...locked('sts', 'iam', 'iam', 'lease_pruned'),
    ],
    expire: ['lease_age'],
  },
  github: {
    issue: ['grant_intent_limited', ...mint.github, 'lease_outcome', 'answered'],
    redeem: ['grant_claim', ...mint.github, 'lease_outcome', 'answered'],
    revoke: [
      'session_end',
      'session_release_leases',
      'session_release_grants',
      'session_released',
      'lease_claim',
      'DELETE token',
      'lease_settle',
    ],
    expire: ['lease_age', 'lease_claim', 'DELETE token', 'lease_settle'],
  },
  gcp: {
    issue: ['grant_intent_room', ...mint.gcp, 'lease_outcome', 'answered'],
    redeem: ['grant_claim', ...mint.gcp, 'lease_outcome', 'answered'],
    revoke: [
      'session_end',
      'session_release_leases',
      'session_release_grants',
      'session_released',
      'lease_claim',
      'POST disable',
      'lease_settle',
      'lease_claim',
      'lease_settle',
      'pool_due',
      'POST enable',
      'pool_free',
    ],
    expire: ['lease_age', 'pool_due', 'pool_free'],
  },
};

/** A grant by policy; the redemption of an approved one; the end of a session; the end of a lease. */
export type Flow = 'issue' | 'redeem' | 'revoke' | 'expire';
