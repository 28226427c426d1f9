/**
 * The name of a plan: what policy decided on, what the approver saw, what the provider is asked for
 * (invariant 3).
 */
import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { Plan } from '../core/vocabulary.ts';

/**
 * `sha256:` + hex over the plan's canonical JSON (RFC 8785): equal plans have equal digests whatever the
 * order of their members.
 */
export function planDigest(plan: Plan): string {
  const text = canonicalize(plan);
  if (text === undefined) throw new TypeError('a plan must be JSON');
  return `sha256:${hash('sha256', text, 'hex')}`;
}
