/**
 * What a channel is: a way to reach the people who decide, and for them to answer. And what approvals need to
 * know about a grant from the manifest it was asked under: `compose/` supplies it, approvals read no
 * manifest.
 *
 * A channel imports this file and `review.ts`, and no other channel. One that delivers passes
 * `conformance.ts` against its counterpart. To add one: its folder, and its line in `registry.ts`.
 */
import type { Request, Response, Router } from 'express';
import type { JSX } from 'preact';
import type { SettingsModule } from '../broker/config/settings.ts';
import type { WebLog } from '../broker/console/page-errors.ts';
import type { Timed } from '../broker/core/clock-guard.ts';
import type { WritError } from '../broker/core/errors.ts';
import type { LongPoller } from '../broker/core/long-poller.ts';
import type { Clock, JsonObject, Plan, PlanDescription } from '../broker/core/vocabulary.ts';
import type { Identity } from '../broker/people/identity.ts';
import type { LoginDeps } from '../broker/people/login.ts';
import type { OnCall } from '../broker/people/on-call.ts';
import type { PasskeyDeps } from '../broker/people/passkeys/relying-party.ts';
import type { Finding, Level } from '../providers/contract.ts';

/** Names a grant and the manifest version that says who owns it. */
export interface GrantRef {
  id: string;
  agent: string;
  capability: string;
  manifestVersion: number;
  taskType: string;
}

/**
 * Who may review: `team:<group>` and `user:<e-mail>`, the owner of the capability and the owner of the agent,
 * from the manifest version the grant was asked under (a later version must not hand a waiting request to
 * other people).
 */
export type ApproversOf = (grant: GrantRef) => Promise<string[]>;

/**
 * What the approver reads about the grant's manifest entries. Written by the manifest's author, shown as
 * text.
 */
export interface GrantAbout {
  /** `team:…` or `user:…` that answers for the agent. */
  owner: string;
  agentDescription?: string | undefined;
  capabilityDescription?: string | undefined;
  taskDescription?: string | undefined;
  /** Channels besides the web where it may be approved. Everywhere else people are led to the web. */
  approvedIn?: readonly string[] | undefined;
  /** Whoever approves it must show having read it: on its page, and not ahead of time. */
  challenged?: boolean | undefined;
}

/**
 * The plan of what is left of a request, surely within the one that stands.
 * @param leftOut JSON Pointers into the parameters, of all that is left out
 * @param lowered JSON Pointer → what it was lowered to, of all that is
 * @throws WritError `bad_request`
 */
export type NarrowPlan = (
  grant: { params: JsonObject; plan: Plan },
  leftOut: readonly string[],
  lowered: { readonly [pointer: string]: string },
) => Plan;

/** What may still be lowered in a request, by the provider of its plan. */
export type LevelsOf = (grant: {
  params: JsonObject;
  plan: Plan;
  left_out: readonly string[];
  lowered: { readonly [pointer: string]: string };
}) => Level[];

/** What the manifest in force says of who approves a capability. */
export interface TermsInForce {
  /** Of all it says of the capability, the task type and who approves. */
  digest: string;
  tier: number;
  /** Whose approvals count. */
  from: readonly string[];
  /** An approval takes a challenge. */
  challenged: boolean;
  /** Longest lifetime of its credentials. */
  maxTtlSeconds: number;
}

/** @returns null where the agent, the capability or the task type is there no more */
export type TermsOf = (agent: string, capability: string, taskType: string) => Promise<TermsInForce | null>;

export type AboutGrant = (grant: GrantRef) => Promise<GrantAbout>;

/** What the provider says of a plan, in words. Throws when the provider is not switched on. */
export type DescribePlan = (plan: Plan) => PlanDescription;

/**
 * How a channel is switched on and made: the same shape as a provider's module. Its `name` is what its
 * reviews are recorded under.
 */
export interface ChannelModule<Settings = unknown> extends SettingsModule<Settings> {
  create(settings: Settings, deps: ChannelDeps): Channel;
}

/** Injected into every channel's factory, in each role of a broker. */
export interface ChannelDeps {
  clock: Clock;
  /** For ids and codes; never for a notice's text. */
  log: WebLog;
}

/** All but the name is optional: a channel may only show, or only tell. */
export interface Channel {
  readonly name: string;
  /**
   * Pages and endpoints of this channel, mounted as they are by every process that serves. Reviews that come
   * in here go to `review`.
   */
  router?(deps: PagesDeps): Router;
  /**
   * Listens for answers where nobody can reach this broker: started by every process that serves, once its
   * pages are there. Must not throw: what fails is tried again until `stop`.
   */
  listen?(deps: PagesDeps): { stop(): Promise<void> };
  /** What the console's home page shows this person of what waits for them; null when nothing does. */
  waitingFor?(deps: PagesDeps, person: Identity): Promise<JSX.Element | null>;
  /**
   * Tells people what the notice says, and resolves when the other side has taken it.
   *
   * - Idempotent by `notice.id`: a notice whose answer was lost comes again, perhaps in another process, and
   *   people see it once. So the id must reach the other side; where that does not tell doubles apart, it is
   *   looked for there when `attempt` says that an earlier try may have arrived.
   * - `settled` rewrites what `earlier` notices showed, where the other side can; else it is a message of its
   *   own, and none where nobody was told.
   * - Ends as soon as `signal` aborts: the other side is waited for so long and no longer.
   * - Every text in the notice is plain text, whatever it looks like: nothing in it may become markup, a link
   *   or a mention. What the agent wrote is shown as the agent's words.
   * @returns where the message is, in the channel's own terms, at most 1000 characters: kept beside the
   *   notice, and handed back with later ones of the same grant
   * @throws DeliveryError; anything else counts as `failed`
   */
  deliver?(notice: Message, signal: AbortSignal): Promise<string | null>;
  /**
   * Whether `escalated` is told to others than `pending` was: they are told at once where that failed.
   * Absent = to the same.
   */
  hasNext?(notice: Message): boolean;
  /**
   * Asks the other side, on request, whether it would take a message: `writ doctor`. Tells nobody anything,
   * and never throws.
   */
  diagnose?(signal: AbortSignal): Promise<Finding[]>;
}

/** What a channel's pages stand on. */
export interface PagesDeps extends LoginDeps, PasskeyDeps, Timed {
  /** What challenges are made with: 32 bytes, the same on every process that serves. */
  challengeKey: Uint8Array;
  describePlan: DescribePlan;
  approversOf: ApproversOf;
  /** Who is on call now; absent = nobody ever is. */
  onCall?: OnCall;
  aboutGrant: AboutGrant;
  termsOf: TermsOf;
  /** How far ahead an approval may be given; 0 = none. */
  preApprovalSeconds: number;
  /**
   * Arguments of the tool call that a question is about, as long as it is open; null otherwise, and when they
   * are not those that the plan digests. Who reads them is on record.
   */
  callArguments(grantId: string, reader: { name: string; requestId: string | null }): Promise<JsonObject | null>;
  /** For so long whoever edited an agent's manifest approves nothing of it; 0 = no time. */
  editorCoolingSeconds: number;
  /** Whether an approval faster than a person can read must be confirmed; else it is noted. */
  warnsHasty?: boolean;
  /** How long an approved grant waits for its agent. */
  redemptionSeconds: number;
  minTtlSeconds?: (provider: string) => number;
  /** Absent: a review shortens, and leaves nothing out. */
  narrowPlan?: NarrowPlan;
  /** Whether something can be left out of a plan of this provider. */
  canNarrow?: (provider: string) => boolean;
  /** Absent: nothing is lowered. */
  levelsOf?: LevelsOf;
  /** Waits for what changes; absent: pages that are open ask now and then. */
  poller?: LongPoller;
  log: WebLog;
  requestId: (req: Request, res: Response) => string;
  /** Puts a refused request on the record. */
  noteRefusal?: (req: Request, res: Response, error: WritError) => Promise<void>;
  /**
   * Whether this is the first time that the key is seen, on any process, until `until`: for what must not be
   * taken twice. A key is a text of the channel's, never a secret.
   */
  once(key: string, until: Date): Promise<boolean>;
  /** Where people sign in; null = nowhere. */
  signInIssuer: string | null;
}

/**
 * `pending`: a grant waits for a person. `escalated`: it still waits, and nobody answered, or could be told.
 * `reminder`: its time is soon over, and whoever was told has not answered. `settled`: it waits no more.
 */
export type NoticeKind = 'pending' | 'escalated' | 'reminder' | 'settled';

/** How a request ended, as of the notice that says so. */
export interface Outcome {
  result: 'approved' | 'denied' | 'expired' | 'lapsed' | 'session_ended';
  /** The same in one sentence, with who and how. Plain text. */
  words: string;
  /** Why, in the words of the person who denied it; null when nobody gave a reason. */
  reason: string | null;
  at: Date;
}

/** What the same channel was given about the same grant before. */
export interface EarlierNotice {
  id: string;
  kind: NoticeKind;
  /** What `deliver` gave back; null when nobody knows whether it arrived. */
  reference: string | null;
}

/**
 * One thing to tell people about one grant, through one channel. Holds no secret: the plan and what was
 * asked, never a credential, a token or a key. Nothing in it is invisible or endless (bidi marks and the like
 * are written out, texts are clamped); all of it is still plain text to be escaped.
 */
export interface Notice {
  /** The same whenever this notice is delivered again, and another when it says something else. */
  id: string;
  kind: NoticeKind;
  /** Which try this is, counted from 1. */
  attempt: number;
  /** Of `settled` alone. */
  outcome: Outcome | null;
  /** Oldest first; those that nobody can have seen are left out. */
  earlier: EarlierNotice[];
  grantId: string;
  /** The page where the grant is decided. The only link a message may have. */
  url: string;
  agent: string;
  capability: string;
  taskType: string;
  /** `team:…` and `user:…` who may decide. */
  approvers: string[];
  /** Whether it may be approved in this channel, and is here whole; else people are led to the page. */
  approvedHere: boolean;
  /**
   * The permission, one fact a line, in the provider's words; values that the agent chose may stand in them.
   */
  summary: string[];
  /** How the credential can be ended. */
  revocability: string;
  ttlSeconds: number;
  planDigest: string;
  requestedAt: Date;
  /** Silence until then is a denial. Of what is settled it means nothing. */
  decideBy: Date;
  /** Why, in the agent's own words; null when it gave none. */
  justification: AgentText | null;
  /** What the agent declared its task to be about. Names are the manifest's, values the agent's. */
  inputs: { name: string; value: AgentText }[];
}

/**
 * One thing that happened in a session, or with a break-glass, of which people are told and not asked. Plain
 * text, as in a notice; names in it may be the agent's.
 */
export interface Incident {
  /** The same whenever it is delivered again. */
  id: string;
  kind: 'incident';
  /** Which try this is, counted from 1. */
  attempt: number;
  /** Null: it is a break-glass, and about no one session. */
  sessionId: string | null;
  /** Its page on the console. The only link a message may have. */
  url: string;
  agent: string;
  /** What happened, in one sentence. */
  what: string;
  /** What Writ did about it, in one sentence. */
  consequence: string;
  /** `team:…` and `user:…` that answer for the agent, or are told of every break-glass. */
  recipients: string[];
  at: Date;
}

/**
 * What was decided in an owner's name in a day. Plain text, as in a notice. Names of agents, capabilities and
 * people, and numbers.
 */
export interface Digest {
  /** The same whenever it is delivered again. */
  id: string;
  kind: 'digest';
  /** Which try this is, counted from 1. */
  attempt: number;
  /** In whose name: `team:…`, `user:…`, `oncall:…`. */
  owner: string;
  recipients: string[];
  /** The page that says the same, with each request. The only link a message may have. */
  url: string;
  from: Date;
  until: Date;
  totals: { approved: number; ahead: number; denied: number; expired: number; lapsed: number; automatic: number };
  /** How the requests of each capability ended, one a line. */
  lines: string[];
  /** Who answered, one a line. */
  people: string[];
  /** Approvals that were given faster than a person can read. */
  hasty: number;
}

/** Anything a channel tells. */
export type Message = Notice | Incident | Digest;

/** Written by the agent and unchecked: shown as its words, and never used in a rule (invariant 4). */
export interface AgentText {
  writtenBy: 'agent';
  text: string;
  /** Characters that were cut off. */
  left: number;
}

export type DeliveryErrorCode =
  /** The other side said no, and will again until somebody configures it: no such room, no permission. */
  | 'refused'
  /** Rate limit, 5xx, connection lost: may work later. */
  | 'unavailable'
  /** No answer in time. People may have been told. */
  | 'timed_out'
  /** Anything else. */
  | 'failed';

/**
 * A notice was not, or perhaps not, delivered. `message` is for logs: no secret, nothing of the notice's
 * text.
 */
export class DeliveryError extends Error {
  readonly code: DeliveryErrorCode;
  /** How long the other side wants to be left alone. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: DeliveryErrorCode, message: string, options: { retryAfterSeconds?: number } = {}) {
    super(message);
    this.name = 'DeliveryError';
    this.code = code;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}
