/**
 * What people are asked besides credentials, as rows of `grants`: names, and what they consent to. Written by
 * `grants/question.ts`, shown by `approvals/`.
 */
import type { JsonObject, Plan } from './vocabulary.ts';

/** What a row of `grants` is about, by its `capability`: the manifest's, or a question. None has a colon. */
export const aboutCall = (tool: string): string => `tool:${tool}`;
export const aboutSession = 'session:lift';
export const isQuestion = (capability: string): boolean => capability.includes(':');

/**
 * Several grants of one task, put to people at once. All of them need the same people: whose they are says
 * the capability of the first.
 */
const batch = 'batch:';
/** `provider` of its plan. */
export const batchProvider = 'batch';
export const aboutBatch = (capability: string): string => `${batch}${capability}`;
export const isBatch = (capability: string): boolean => capability.startsWith(batch);
/** The capability whose manifest entry says who decides. */
export const decidedAs = (capability: string): string =>
  isBatch(capability) ? capability.slice(batch.length) : capability;
/** What is asked, where a name has to do. */
export const nameOfAsked = (capability: string): string =>
  isBatch(capability) ? `${decidedAs(capability)} and others at once` : capability;
/** The same as `decidedAs`, as SQL. @param capability SQL of the column */
export const decidedAsSql = (capability: string): string =>
  `CASE WHEN ${isBatchSql(capability)} THEN substr(${capability}, ${batch.length + 1}) ELSE ${capability} END`;
export const isBatchSql = (capability: string): string => `${capability} LIKE '${batch}%'`;

/** The plan of a question about a call: what the approver consents to. Its `permission`. */
export interface CallPermission {
  tool: string;
  entity: string | null;
  /** Each argument as type, keyed digest and preview; the values are sealed beside it. */
  arguments: JsonObject;
  /** Where each argument's value was seen before. */
  origins: { [argument: string]: ArgumentOrigin };
  /** Destinations that neither the manifest nor the task's inputs name. */
  unknown_destinations: number;
  cost_micro_usd: number;
  rules: { id: string; message: string }[];
}
export type ArgumentOrigin = 'task' | 'person or manifest' | 'output of a tool' | 'agent';

/** The plan of a question about a session: what it may do once it is lifted. Its `permission`. */
export interface LiftPermission {
  /** What the rule did to the session. */
  because: 'suspend' | 'downgrade';
  rules: { id: string; message: string }[];
  /** The tool or capability that was asked for. */
  asked: string;
  arguments: JsonObject;
  /** What the rule took, `tool:NAME` and `capability:NAME`, and the lift gives back. */
  took: string[];
  /** What the session may not do all the same; a reviewer may name more of what it could. */
  withhold: string[];
  could: string[];
}

/** The plan of a batch: what the approver consents to. Its `permission`. */
export interface BatchPermission {
  /** In the order in which they were asked for. */
  members: BatchMember[];
  /** Ids of members that a reviewer took out: they are denied. */
  withhold: string[];
}

export interface BatchMember {
  grant: string;
  capability: string;
  plan: Plan;
  /** The provider's words for the plan, and for its early end. */
  summary: string[];
  revocability: string;
}

/** What of a batch is still to be had. */
export const membersLeft = ({ members, withhold }: BatchPermission): BatchMember[] =>
  members.filter(({ grant }) => !withhold.includes(grant));
