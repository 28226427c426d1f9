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
import type { Clock, JsonObject, Plan, PlanDescription } from '../broker/core/vocabulary.ts';
import type { Identity } from '../broker/people/identity.ts';
import type { LoginDeps } from '../broker/people/login.ts';

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
}

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
  /** What the console's home page shows this person of what waits for them; null when nothing does. */
  waitingFor?(deps: PagesDeps, person: Identity): Promise<JSX.Element | null>;
  /**
   * Tells people what the notice says, and resolves when the other side has taken it.
   *
   * - Idempotent by `notice.id`: a notice whose answer was lost comes again, perhaps in another process, and
   *   people see it once. So the id must reach the other side.
   * - Ends as soon as `signal` aborts: the other side is waited for so long and no longer.
   * - Every text in the notice is plain text, whatever it looks like: nothing in it may become markup, a link
   *   or a mention. What the agent wrote is shown as the agent's words.
   * @throws DeliveryError; anything else counts as `failed`
   */
  deliver?(notice: Notice | Incident, signal: AbortSignal): Promise<void>;
}

/** What a channel's pages stand on. */
export interface PagesDeps extends LoginDeps {
  describePlan: DescribePlan;
  approversOf: ApproversOf;
  aboutGrant: AboutGrant;
  /**
   * Arguments of the tool call that a question is about, as long as it is open; null otherwise, and when they
   * are not those that the plan digests. Who reads them is on record.
   */
  callArguments(grantId: string, reader: { name: string; requestId: string | null }): Promise<JsonObject | null>;
  /** How long an approved grant waits for its agent. */
  redemptionSeconds: number;
  minTtlSeconds?: (provider: string) => number;
  log: WebLog;
  requestId: (req: Request, res: Response) => string;
}

/** `pending`: a grant waits for a person. */
export type NoticeKind = 'pending';

/**
 * One thing to tell people about one grant, through one channel. Holds no secret: the plan and what was
 * asked, never a credential, a token or a key. Nothing in it is invisible or endless (bidi marks and the like
 * are written out, texts are clamped); all of it is still plain text to be escaped.
 */
export interface Notice {
  /** The same whenever this notice is delivered again. */
  id: string;
  kind: NoticeKind;
  grantId: string;
  /** The page where the grant is decided. The only link a message may have. */
  url: string;
  agent: string;
  capability: string;
  taskType: string;
  /** `team:…` and `user:…` who may decide. */
  approvers: string[];
  /**
   * The permission, one fact a line, in the provider's words; values that the agent chose may stand in them.
   */
  summary: string[];
  /** How the credential can be ended. */
  revocability: string;
  ttlSeconds: number;
  planDigest: string;
  requestedAt: Date;
  /** Silence until then is a denial. */
  decideBy: Date;
  /** Why, in the agent's own words; null when it gave none. */
  justification: AgentText | null;
  /** What the agent declared its task to be about. Names are the manifest's, values the agent's. */
  inputs: { name: string; value: AgentText }[];
}

/**
 * One thing that happened in a session, of which people are told and not asked. Plain text, as in a notice;
 * names in it may be the agent's.
 */
export interface Incident {
  /** The same whenever it is delivered again. */
  id: string;
  kind: 'incident';
  sessionId: string;
  /** The session's page on the console. The only link a message may have. */
  url: string;
  agent: string;
  /** What happened, in one sentence. */
  what: string;
  /** What Writ did about it, in one sentence. */
  consequence: string;
  /** `team:…` and `user:…` that answer for the agent. */
  recipients: string[];
  at: Date;
}

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
