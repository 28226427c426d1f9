/** What `who-can` is asked, and what it says of one capability or tool in one kind of session. */
import type { Provider } from '../../providers/contract.ts';
import type { Digest } from '../actions/cells.ts';
import type { JsonObject, Task } from '../core/vocabulary.ts';
import type { OpenGlass } from './broken-glass.ts';

export type Question = { provider: string; action: string; resource: string } | { tool: string } | { host: string };

export interface Finding {
  agent: string;
  version: number;
  /** The capability or the tool. */
  name: string;
  task_type: string;
  answer: 'yes' | 'no' | 'cannot_tell';
  /** A session that could, with what it would ask for. */
  example?: { inputs: Task['inputs']; params?: JsonObject; arguments?: JsonObject; needs_approval?: true };
  /** Of a yes that two people can have given past the rules, or without approval: those open now. */
  break_glass?: { needed: boolean; open: { id: string; session: string | null; expires_at: string }[] };
  /** Conditions of a yes; reasons of the rest. */
  because: string[];
}

export interface WhoCanDeps {
  providers: ReadonlyMap<string, Provider>;
  digest: Digest;
  now: Date;
  /** Break-glasses that are open. */
  open: readonly OpenGlass[];
}

/** A session without a history, as far as a decision looks at it. */
export const freshSession = (agent: string, task: Task, now: Date) => ({
  agent,
  rootId: 'ses_new',
  task,
  rootOpenedAt: now,
  onBehalfOf: null,
  declaredOnBehalfOf: null,
  facts: { withheld: [] },
});
