/**
 * Approval of state: what a plan is about is read at the provider when people are asked, and again when the
 * agent comes for what they approved.
 */
import { type Provider, ProviderError } from '../../providers/contract.ts';
import type { Clock, JsonObject, Plan } from '../core/vocabulary.ts';
import { withDeadline } from '../leases/deadline.ts';
import { member } from '../manifests/manifest.ts';
import type { PublishedManifest } from '../manifests/publish.ts';

/** Larger than that is no state that people look at. */
const maxStateBytes = 16_384;

export interface StateDeps {
  clock: Clock;
  providers: ReadonlyMap<string, Provider>;
  providerTimeoutSeconds: number;
}

/**
 * Nobody can tell what the state is. The code, whether it passes, and how long the provider asks to wait: its
 * words are for its own log.
 */
export class StateUnreadable extends Error {
  override name = 'StateUnreadable';
  readonly code: string;
  readonly passes: boolean;
  readonly retryAfterSeconds: number | null;
  constructor(code: string, later?: { passes: boolean; retryAfterSeconds: number | null }) {
    super('the state of what a plan is about cannot be read');
    this.code = code;
    this.passes = later?.passes ?? false;
    this.retryAfterSeconds = later?.retryAfterSeconds ?? null;
  }
}

/** Whether the manifest wants people to approve the state as well. */
export const wantsState = ({ compiled: { manifest } }: PublishedManifest, capability: string): boolean =>
  member(manifest.capabilities, capability)?.approval?.state === true;

/** @throws StateUnreadable also where the provider reads no state at all */
export async function readState(deps: StateDeps, plan: Plan): Promise<JsonObject> {
  const provider = deps.providers.get(plan.provider);
  if (provider?.state === undefined) throw new StateUnreadable('not_offered');
  let seen: JsonObject;
  try {
    seen = await withDeadline(deps.clock, deps.providerTimeoutSeconds, provider.name, (signal) =>
      (provider.state as NonNullable<Provider['state']>)(plan, signal),
    );
  } catch (error) {
    if (!(error instanceof ProviderError)) throw new StateUnreadable('failed');
    const { code, retryable: passes, retryAfterSeconds } = error;
    throw new StateUnreadable(code, { passes, retryAfterSeconds });
  }
  const text = JSON.stringify(seen);
  if (text === undefined || text.length > maxStateBytes) throw new StateUnreadable('too_large');
  // As a row will have it.
  return JSON.parse(text) as JsonObject;
}
