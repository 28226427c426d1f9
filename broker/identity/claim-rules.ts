/**
 * What a binding says about claims: rules that compile to matchers, and whether they tell one workload from
 * another.
 */
import { RE2JS } from 're2js';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import type { FaultPath, Report } from './file-faults.ts';
import type { ClaimRule, IssuerKind } from './trust-schema.ts';

export interface ClaimMatcher {
  /** Claim names from the outside in: `['kubernetes.io', 'namespace']`. */
  path: readonly string[];
  /** True when the whole value fits. */
  matches(value: string): boolean;
}

/**
 * Claims that name a workload or its owner, by kind of issuer. All other claims can be chosen by anyone who
 * may use the issuer: any GitHub repository has a `ref` called main, and may call a public reusable workflow
 * (`job_workflow_ref`).
 */
const identityClaims: { [kind in Exclude<IssuerKind, 'generic'>]: string[][] } = {
  github_actions: [
    ['repository_id'],
    ['repository_owner_id'],
    ['repository'],
    ['repository_owner'],
    ['enterprise_id'],
    ['sub'],
  ],
  kubernetes: [['sub'], ['kubernetes.io', 'namespace'], ['kubernetes.io', 'serviceaccount', 'uid']],
  gcp: [['sub'], ['email']],
  spiffe: [['sub']],
};
const envelopeClaims = new Set(['iss', 'aud', 'exp', 'iat', 'nbf', 'jti']);

/** Made-up names. A rule that matches one of them also matches strangers, so it identifies nobody. */
const strangers = [
  'q7zk0w',
  '7301946285017',
  'q7zk/0wq',
  'repo:q7zk/0wq:ref:refs/heads/q7zk',
  'repo:q7zk@73019462/0wq@85017:ref:refs/heads/q7zk',
  'q7zk@q7zk.invalid',
  'system:serviceaccount:q7zk:0wq',
  'spiffe://q7zk.invalid/0wq',
];

/**
 * True when the matcher holds a claim that names a workload at such an issuer, and strangers do not satisfy
 * it.
 */
export function identifies(claim: ClaimMatcher, kind: IssuerKind): boolean {
  const named =
    kind === 'generic'
      ? !envelopeClaims.has(claim.path[0] ?? '')
      : identityClaims[kind].some((path) => path.join('\n') === claim.path.join('\n'));
  return named && !strangers.some((stranger) => claim.matches(stranger));
}

/** What `identifies` asks for, in words. */
export function identityHint(kind: IssuerKind): string {
  if (kind === 'generic')
    return 'a claim other than iss, aud, exp, iat, nbf and jti, and not with a pattern that fits anything';
  return `one of ${identityClaims[kind].map((path) => path.join(' → ')).join(', ')}, and not with a pattern that fits anything`;
}

/** Compiles the rules of one binding, nested ones flattened to paths; faults go to `report`. */
export function claimMatchers(
  rules: { [claim: string]: ClaimRule },
  outer: string[],
  at: FaultPath,
  report: Report,
): ClaimMatcher[] {
  return Object.entries(rules).flatMap(([claim, rule]): ClaimMatcher[] => {
    const path = [...outer, claim];
    const here = [...at, claim];
    if (typeof rule !== 'object') {
      const literal = String(rule);
      return [{ path, matches: (value) => value === literal }];
    }
    if (!Object.hasOwn(rule, 'pattern')) {
      if (Object.keys(rule).length === 0) report(here, 'Says nothing: write a value, a pattern or a nested claim');
      return claimMatchers(rule, path, here, report);
    }
    const pattern = wholePattern(rule, here, report);
    return pattern === null ? [] : [{ path, matches: pattern }];
  });
}

/** `matches()` of RE2 is anchored at both ends whatever the pattern says, so `a|b` cannot become `^a|b$`. */
function wholePattern(
  rule: { [claim: string]: ClaimRule },
  at: FaultPath,
  report: Report,
): ((value: string) => boolean) | null {
  if (Object.keys(rule).length !== 1 || typeof rule.pattern !== 'string' || rule.pattern.length > 512) {
    report(at, '`pattern` stands alone and is a text of at most 512 characters');
    return null;
  }
  try {
    const compiled = RE2JS.compile(rule.pattern);
    return (value) => compiled.matches(value);
  } catch {
    report([...at, 'pattern'], 'Not an RE2 expression (no look-around, no back-references)');
    return null;
  }
}

/** The claim at the path, through own members only; undefined when absent. */
export function readClaim(claims: JsonObject, path: readonly string[]): Json | undefined {
  let value: Json | undefined = claims;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, step))
      return undefined;
    value = value[step];
  }
  return value;
}
