/** Which agent a verified subject stands for: exactly one, by the bindings in the trust file, or nobody. */
import type { VouchedPerson } from '../core/identifier.ts';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import { readClaim } from './claim-rules.ts';
import { type PersonClaim, personIn } from './person-claim.ts';
import type { VerifiedSubject } from './platform-token.ts';
import { refused } from './refusal.ts';
import type { Binding, Trust } from './trust.ts';

export interface BoundAgent {
  agent: string;
  /** Who started the run, as the platform vouches for it; null when the binding names no claim for it. */
  startedBy: VouchedPerson | null;
  /**
   * The person the run acts for, as the platform vouches for it. When set, it is the only value
   * `on_behalf_of` may have; when null the platform says nothing, and a declared one is the agent's own word.
   */
  onBehalfOf: VouchedPerson | null;
  /** `team:…` or `user:…` that the trust file names as answering for the run: counts as its starter. */
  responsible: string | null;
}

/**
 * Refuses a token that matches two agents, a configuration fault that a caller must not be able to exploit,
 * and one agent with two different values for who started the run.
 * @throws WritError `invalid_grant` with reason `no_binding`, `ambiguous_binding`, `missing_claim` or
 *   `bad_claim`
 */
export function bindAgent(subject: VerifiedSubject, trust: Trust): BoundAgent {
  const matching = trust.bindings.filter(
    (binding) => binding.issuerName === subject.issuerName && holds(binding, subject.claims),
  );
  const [first, ...others] = matching.map((binding) => ({
    agent: binding.agent,
    startedBy: vouched(subject, binding.startedBy),
    onBehalfOf: vouched(subject, binding.onBehalfOf),
    responsible: binding.responsible,
  }));
  if (first === undefined) throw refused('invalid_grant', 'no_binding', 'The subject token stands for no agent here.');
  const differs = (other: BoundAgent) => JSON.stringify(other) !== JSON.stringify(first);
  if (others.some(differs)) {
    const agents = [...new Set(matching.map((binding) => binding.agent))].join(', ');
    throw refused(
      'invalid_grant',
      'ambiguous_binding',
      'The subject token stands for more than one agent here.',
      `bindings of ${agents} match`,
    );
  }
  return first;
}

/** An issuer without claims to check binds nobody, even if it got past the trust file's own check. */
function holds(binding: Binding, claims: JsonObject): boolean {
  return (
    binding.claims.length > 0 && binding.claims.every((claim) => fits(readClaim(claims, claim.path), claim.matches))
  );
}

/**
 * Numbers and booleans compare by their text; a list fits when one of its entries does; anything else never
 * fits.
 */
function fits(value: Json | undefined, matches: (value: string) => boolean): boolean {
  if (Array.isArray(value)) return value.some((entry) => !Array.isArray(entry) && fits(entry, matches));
  if (typeof value === 'string') return matches(value);
  return (typeof value === 'number' || typeof value === 'boolean') && matches(String(value));
}

function vouched(subject: VerifiedSubject, claim: PersonClaim | null): VouchedPerson | null {
  return claim === null ? null : { by: 'platform_token', ...personIn(subject.claims, claim, subject.issuer) };
}
