/** What a binding says about claims: rules that compile to matchers. */
import { RE2JS } from 're2js';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import type { FaultPath, Report } from './file-faults.ts';
import { literalEnds, patternEnds, type TextEnds } from './pattern-ends.ts';
import type { ClaimRule } from './trust-schema.ts';

export interface ClaimMatcher {
  /** Claim names from the outside in: `['kubernetes.io', 'namespace']`. */
  path: readonly string[];
  /** True when the whole value fits. */
  matches(value: string): boolean;
  /** What every fitting value begins and ends with. */
  ends: TextEnds;
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
    if (typeof rule !== 'object' || Array.isArray(rule)) {
      const literals = [rule].flat().map(String);
      return [{ path, matches: (value) => literals.includes(value), ends: literalEnds(literals) }];
    }
    if (!Object.hasOwn(rule, 'pattern')) {
      if (Object.keys(rule).length === 0) report(here, 'Says nothing: write a value, a pattern or a nested claim');
      return claimMatchers(rule, path, here, report);
    }
    const pattern = wholePattern(rule, here, report);
    return pattern === null ? [] : [{ path, matches: pattern, ends: patternEnds(String(rule.pattern)) }];
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
