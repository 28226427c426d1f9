/**
 * What replaying and looking ahead say of break-glass: a decision given by one went past the manifest's
 * rules, and no manifest decides it otherwise. Pure.
 */
import { definitionOf, type NamedCapability } from '../break-glass/digest.ts';
import type { Reason } from '../core/vocabulary.ts';
import { type Manifest, member } from '../manifests/manifest.ts';

/** An open break-glass, as far as `who-can` tells of it. */
export interface OpenGlass {
  id: string;
  agent: string;
  /** One session of it; null = every one. */
  session: string | null;
  capabilities: readonly NamedCapability[];
  expiresAt: Date;
}

/** @returns the break-glass that gave a decision; null = none did */
export function brokenGlassOf(reasons: readonly Reason[]): string | null {
  const policy = reasons.find(({ code }) => code === 'break_glass')?.policy_id;
  return policy === undefined ? null : policy.replace(/^break_glass\./, '');
}

/** What a break-glass has to do with a candidate: in words, for whoever reads the replay. */
export function underCandidate(glass: string, before: Manifest, candidate: Manifest, name: string): string {
  const [was, is] = [before, candidate].map(({ capabilities }) => member(capabilities, name));
  const given = `given by the break-glass ${glass}, past the rules`;
  if (is?.break_glass !== true) return `${given}; the candidate lets none be given by one`;
  return was !== undefined && definitionOf(was) === definitionOf(is)
    ? given
    : `${given}; the candidate says something else of it, so two people would have to agree anew`;
}
