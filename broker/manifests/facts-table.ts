/**
 * Every fact a policy may look at: its name in Cedar's context, its type, where it comes from, what it means.
 * Derived from this table are the Cedar schema (`cedar-schema.ts`), the columns of the session read
 * (`sessions/fact-columns.ts`), the types and checks of a decision (`decide/facts.ts`) and the page
 * docs/reference/facts.md. A new fact is an entry here and the rule that uses it.
 *
 * Stands here and not in `decide/`, because `sessions/` reads it too, and may know manifests but no decision.
 */
import type { Plan, PlanDescription, Task } from '../core/vocabulary.ts';
import type { Capability } from './manifest.ts';

/** What a decision is told as it stands: not read by a column and not computed from the plan. */
export interface StatedFacts {
  /** The agent's owner as registered: `team:…` or `user:…`. */
  owner: string;
  /** The person the session acts for, as vouched, e.g. `user:a@example.com`. */
  on_behalf_of?: string;
  task: Task;
  now: Date;
  /** True once a person's approval of this very plan digest is on record. */
  approved: boolean;
  /** Ids of the manifest's rules whose conditions hold, given what was before. */
  hits?: readonly string[];
}

export interface PlannedFacts {
  plan: Plan;
  digest: string;
  description: PlanDescription;
}

interface Fact {
  meaning: string;
  /**
   * Not every request has it: rules must ask `has` first. A rule that reads it where it is missing fails, and
   * that denies the request.
   */
  optional?: true;
}
type Scalar = 'String' | 'Long' | 'Boolean' | 'Set<String>' | 'datetime';

/** One of `StatedFacts`, or the capability's own in the manifest in force. */
interface StatedFact extends Fact {
  type: Scalar;
  from: 'manifest' | 'principal' | 'task' | 'clock' | 'approval' | 'rules';
  value(facts: StatedFacts, capability: Capability): unknown;
}
/**
 * A record whose members differ from capability to capability: `cedar-schema.ts` says their types,
 * `decide/facts.ts` their values.
 */
interface RecordFact extends Fact {
  type: 'Record';
  from: 'manifest' | 'task' | 'request';
}
interface PlanFact extends Fact {
  type: Scalar;
  from: 'plan';
  value(planned: PlannedFacts): unknown;
}
/**
 * `session`: an expression of the session read. It may use `r` (the question: `now`, `capability`), `s` (the
 * session) and `root` (the top of its tree).
 * `history`: an aggregate over the grants `g` of one session, summed over the session's tree, so that a child
 * session resets nothing. SQL stands here as constant text only: no value ever becomes part of it.
 */
interface SessionFact extends Fact {
  type: Exclude<Scalar, 'datetime'>;
  from: 'session' | 'history';
  sql: string;
  /**
   * What a request adds to it by having been recorded. Taken off again when that request is decided on anew,
   * after its approval.
   */
  ownShare?: number;
  /** For the docs, and for tests that need just any session. */
  example: boolean | number | string | readonly string[];
}
export type FactEntry = StatedFact | RecordFact | PlanFact | SessionFact;

/**
 * The name says the group, and the group who fills it: `plan.…` and `session.…` have records of their own,
 * all else stands at the top.
 */
interface FactsTable {
  [name: `plan.${string}`]: PlanFact;
  [name: `session.${string}`]: SessionFact;
  [name: string]: FactEntry;
}

/** SQL: whether a row `g` of grants counts against an envelope: not denied, and no mint without effect. */
export const countedGrant = `g.status <> 'denied' AND (g.status <> 'failed'
            OR EXISTS (SELECT 1 FROM lease l WHERE l.grant_id = g.id AND l.status <> 'failed'))`;

export const factsTable = {
  owner: {
    type: 'String',
    from: 'manifest',
    value: ({ owner }) => owner,
    meaning: 'The agent’s owner as registered, `team:…` or `user:…`.',
  },
  on_behalf_of: {
    type: 'String',
    optional: true,
    from: 'principal',
    value: ({ on_behalf_of }) => on_behalf_of,
    meaning:
      'The person the session acts for, `user:…`, as the platform vouches for it. Absent when nobody does: whom the agent declares is no fact.',
  },
  task_type: {
    type: 'String',
    from: 'task',
    value: ({ task }) => task.task_type,
    meaning: 'The task type the session was opened for.',
  },
  inputs: {
    type: 'Record',
    from: 'task',
    meaning: 'The task’s inputs by name. Task types differ in theirs, so each is optional.',
  },
  params: {
    type: 'Record',
    from: 'request',
    meaning: 'The complete parameters, from which the plan was made; what is no scalar as canonical JSON text.',
  },
  bound: {
    type: 'Record',
    from: 'manifest',
    meaning: 'What the parameters that depend on the task’s inputs must equal.',
  },
  matches: {
    type: 'Record',
    from: 'manifest',
    meaning:
      'For each choice that a pattern limits, whether the whole value matches (Cedar has no regular expressions).',
  },
  'plan.provider': {
    type: 'String',
    from: 'plan',
    value: ({ plan }) => plan.provider,
    meaning: 'The provider that will mint the credential.',
  },
  'plan.digest': {
    type: 'String',
    from: 'plan',
    value: ({ digest }) => digest,
    meaning: 'The digest of the exact permission.',
  },
  'plan.ttl_seconds': {
    type: 'Long',
    from: 'plan',
    value: ({ plan }) => plan.ttl_seconds,
    meaning: 'How long the credential will live.',
  },
  'plan.revocability': {
    type: 'String',
    from: 'plan',
    value: ({ description }) => description.revocability.kind,
    meaning: 'How it can be ended: `immediate`, `eventual` or `expiry`.',
  },
  tier: {
    type: 'Long',
    from: 'manifest',
    value: (_facts, { tier }) => tier,
    meaning: 'The capability’s risk tier, 1 to 3.',
  },
  now: {
    type: 'datetime',
    from: 'clock',
    value: ({ now }) => now,
    meaning: 'The moment of the decision.',
  },
  approved: {
    type: 'Boolean',
    from: 'approval',
    // Anything but `true` is no approval.
    value: ({ approved }) => approved === true,
    meaning: 'Whether a person’s approval of this very plan digest is on record.',
  },
  hits: {
    type: 'Set<String>',
    from: 'rules',
    value: ({ hits }) => hits ?? [],
    meaning: 'Ids of the manifest’s `rules` whose conditions hold for this request, given the history.',
  },
  'session.narrowed': {
    type: 'Boolean',
    from: 'session',
    sql: 's.narrowed',
    example: false,
    meaning: 'Whether it is a child session, which may ask for `session.capabilities` only.',
  },
  'session.capabilities': {
    type: 'Set<String>',
    from: 'session',
    sql: 's.capabilities',
    example: [],
    meaning: 'The capabilities that a narrowed session was opened with.',
  },
  'session.withheld': {
    type: 'Set<String>',
    from: 'session',
    sql: 'root.withheld',
    example: [],
    meaning: 'What rules took from the session’s tree: `capability:NAME`, `tool:NAME`.',
  },
  'session.grants': {
    type: 'Long',
    from: 'session',
    sql: 's.grant_count',
    ownShare: 1,
    example: 0,
    meaning: 'Grants the session asked for before this one, not denied, and what it handed on to children.',
  },
  'session.capability_grants': {
    type: 'Long',
    from: 'history',
    sql: `count(*) FILTER (WHERE g.capability = r.capability AND ${countedGrant})`,
    ownShare: 1,
    example: 0,
    meaning: 'The same for this capability alone, over the session’s whole tree.',
  },
  'session.grants_left': {
    type: 'Long',
    // Only for a session with a bound of its own: without one, no policy looks at the count, and the same
    // question stays the same.
    optional: true,
    from: 'session',
    sql: 's.max_grants - s.grant_count',
    ownShare: -1,
    example: 5,
    meaning: 'Grants the session may still ask for. Absent when it has no bound of its own.',
  },
} as const satisfies FactsTable;

type Table = typeof factsTable;
export type FactName = keyof Table;

export type SessionFactName = Extract<FactName, `session.${string}`>;

/** Names of the records that differ by capability. */
export type RecordName = { [Name in FactName]: Table[Name]['type'] extends 'Record' ? Name : never }[FactName];

interface TypeScriptTypes {
  String: string;
  Long: number;
  Boolean: boolean;
  'Set<String>': string[];
  datetime: Date;
  Record: never;
}
type Group<Prefix extends string> = {
  [Name in FactName as Name extends `${Prefix}.${infer Short}` ? Short : never]: Table[Name];
};
type ValuesOf<Facts extends { [name: string]: { type: keyof TypeScriptTypes } }> = {
  [Name in keyof Facts as Facts[Name] extends { optional: true } ? never : Name]: TypeScriptTypes[Facts[Name]['type']];
} & {
  [Name in keyof Facts as Facts[Name] extends { optional: true } ? Name : never]?: TypeScriptTypes[Facts[Name]['type']];
};

/**
 * What the database knows about the session: `{ narrowed: boolean, grants: number, grants_left?: number … }`.
 */
export type SessionFactValues = ValuesOf<Group<'session'>>;
/** What there is to know about the plan: `{ provider: string, ttl_seconds: number … }`. */
export type PlanFactValues = ValuesOf<Group<'plan'>>;

/**
 * The table's entries in its order, with the name taken apart: `session.grants` → group `session`, short
 * `grants`.
 */
export const factEntries: readonly { name: FactName; group: string | null; short: string; fact: FactEntry }[] =
  Object.entries(factsTable).map(([name, fact]) => {
    const dot = name.indexOf('.');
    const group = dot < 0 ? null : name.slice(0, dot);
    return { name: name as FactName, group, short: name.slice(dot + 1), fact };
  });

/** The facts that the session read answers, in the table's order. */
export const sessionFacts: readonly { name: SessionFactName; short: string; fact: SessionFact }[] = factEntries.flatMap(
  ({ name, short, fact }) => ('sql' in fact ? [{ name: name as SessionFactName, short, fact }] : []),
);
