/**
 * What people are asked besides credentials, as rows of `grants`: names, and what they consent to. Written by
 * `grants/question.ts`, shown by `approvals/`.
 */
import type { JsonObject } from './vocabulary.ts';

/** What a row of `grants` is about, by its `capability`: the manifest's, or a question. None has a colon. */
export const aboutCall = (tool: string): string => `tool:${tool}`;
export const aboutSession = 'session:lift';
export const isQuestion = (capability: string): boolean => capability.includes(':');

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
