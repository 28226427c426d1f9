/**
 * Where the manifest in force refuses a request, or has a person asked, and two people have broken the glass
 * for it: the decision by that.
 */
import { definitionOf } from '../break-glass/digest.ts';
import { type OpenBreakGlass, openToSession } from '../break-glass/open-to-session.ts';
import { member } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import type { Store } from '../store/open.ts';
import { type Asked, type Evaluation, evaluateUnderBreakGlass } from './evaluate.ts';

export interface BrokenGlass {
  /** Allowed. */
  evaluation: Evaluation;
  glass: OpenBreakGlass;
}

/** @returns null where what the manifest says stands */
export async function pastTheRules(
  { store, providers }: { store: Store; providers: Parameters<typeof evaluateUnderBreakGlass>[0] },
  manifest: PublishedManifest,
  session: SessionFacts,
  asked: Asked,
  now: Date,
  hits: readonly string[],
  { decision }: Evaluation,
): Promise<BrokenGlass | null> {
  if (decision.effect === 'allow') return null;
  const capability = member(manifest.compiled.manifest.capabilities, asked.capability);
  if (capability?.break_glass !== true) return null;
  const named = { name: asked.capability, definition: definitionOf(capability) };
  const glass = await openToSession(store, session, named, now);
  if (glass === null) return null;
  const secondsLeft = Math.floor((glass.expiresAt.getTime() - now.getTime()) / 1000);
  const under = { id: glass.id, secondsLeft };
  const evaluation = evaluateUnderBreakGlass(providers, manifest, session, asked, now, hits, under);
  return evaluation === null ? null : { evaluation, glass };
}
