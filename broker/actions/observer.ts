/**
 * Who is told of decisions, after they are on record: for what decides beside them without effect. Telling
 * costs a flow nothing and can change nothing in it: nobody waits, and nothing is thrown.
 */
import type { JsonObject, Reason } from '../core/vocabulary.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import type { SessionFacts } from '../sessions/authenticate.ts';
import type { CellRef, Cells } from './cells.ts';
import type { Call } from './evaluate-call.ts';
import type { Outcome } from './outcome.ts';

interface Seen {
  /** As it was read for the decision. */
  session: SessionFacts;
  at: Date;
}

/** Of what a decision looked at in history, what was there before it. */
interface Looking {
  looked: { refs: readonly CellRef[]; cells: Cells };
}

export interface CallSeen extends Seen, Looking {
  published: PublishedManifest;
  call: Call;
  /** Rules about which people agreed to this very call; null = nobody was asked. */
  consent: readonly string[] | null;
  id: string;
  effect: string;
  reasons: readonly Reason[];
}

export interface OutcomeSeen extends Seen {
  id: string;
  outcome: Outcome;
}

export interface GrantSeen extends Seen, Looking {
  published: PublishedManifest;
  id: string;
  capability: string;
  /** As the agent gave them. */
  params: JsonObject | undefined;
  ttlSeconds: number | undefined;
  address: string | null;
  effect: string;
  reasons: readonly Reason[];
  planDigest: string;
}

/** A grant that a person approved is issued. */
export interface IssueSeen extends Seen {
  capability: string;
  /** Complete. */
  params: JsonObject;
  address: string | null;
}

export interface DecisionObserver {
  called(seen: CallSeen): void;
  finished(seen: OutcomeSeen): void;
  granted(seen: GrantSeen): void;
  issued(seen: IssueSeen): void;
}
