/** What people sign with their passkeys, as digests. Pure. */
import { hash } from 'node:crypto';
import canonicalize from 'canonicalize';
import type { Json } from '../core/vocabulary.ts';
import type { Capability } from '../manifests/manifest.ts';

/** A capability, and a digest of what the manifest said of it when it was asked for. */
export interface NamedCapability {
  name: string;
  definition: string;
}

/** What is asked for. */
export interface BreakGlassTerms {
  agent: string;
  /** One session of it; null = any. */
  session_id: string | null;
  capabilities: NamedCapability[];
  reason: string;
  incident: string;
  seconds: number;
}

const digestOf = (value: unknown): string => `sha256:${hash('sha256', canonicalize(value as Json)!, 'hex')}`;

/** A manifest that says something else of the capability is not what two people agreed to. */
export const definitionOf = (capability: Capability): string => digestOf(capability);

/** What whoever asks signs. */
export function askDigest({ agent, session_id, capabilities, reason, incident, seconds }: BreakGlassTerms): string {
  return digestOf({ break_glass: 'ask', agent, session_id, capabilities, reason, incident, seconds });
}

/** What the second person signs: this very request. */
export const agreeDigest = ({ id, digest }: { id: string; digest: string }): string =>
  digestOf({ break_glass: 'agree', id, digest });
