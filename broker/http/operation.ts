/**
 * One endpoint as data: where it is, what it takes, what it answers, who may call it, and the function that
 * does it. The schemas validate and document.
 */
import type { z } from 'zod';
import type { ErrorCode } from '../core/errors.ts';
import type { Admin, Identity } from '../people/identity.ts';
import type { Caller, SessionFacts, SessionReads } from '../sessions/authenticate.ts';

/** Why a session may not act: of every operation that asks whether it may. */
export const mayNotAct = [
  'unauthenticated',
  'session_ended',
  'session_suspended',
  'session_asleep',
  'locked',
] as const satisfies readonly ErrorCode[];

/** How callers show who they are, by its name in `/openapi.json`. */
export type SecurityScheme = 'session' | 'session_bearer' | 'admin' | 'person' | 'receiver' | 'transmitter';

export interface Answer {
  status: number;
  /** JSON; absent = no body. */
  body?: unknown;
  headers?: Record<string, string>;
  /** Called when the answer could not be handed over: the client has gone. Never rejects. */
  undelivered?(): Promise<void>;
}

/** What a handler gets, checked. */
export interface Call<Body, Query, Params> {
  body: Body;
  query: Query;
  params: Params;
  /** By lower-case name. */
  header(name: string): string | undefined;
  requestId: string;
  /** IP address of the caller, when it is known. */
  address: string | undefined;
  /** Aborted when the client disconnects, so that long polls stop. */
  signal: AbortSignal;
}

interface Described<Body, Query, Params> {
  method: 'get' | 'post' | 'put' | 'delete';
  /** Express form, e.g. `/v1/grants/:id`. */
  path: string;
  /** Gives something for a time: refused while this machine's clock is far from the database's. */
  needsClock?: boolean;
  /** Called most often: routed first. */
  busy?: boolean;
  summary: string;
  tag: string;
  body?: z.ZodType<Body>;
  /** Media type of the body; JSON unless said. `set`: a Security Event Token (RFC 8417). */
  bodyType?: 'json' | 'form' | 'yaml' | 'set';
  /** Of a form: fields that may come more than once, and are a list then. */
  repeatable?: readonly string[];
  /** A standard whose refusals differ from ours: of `authzen`, a body that is not JSON is 400. */
  dialect?: 'authzen';
  /** A body may be left out. */
  bodyOptional?: boolean;
  query?: z.ZodType<Query>;
  params?: z.ZodType<Params>;
  /** Request headers with a meaning, for the documentation. */
  headers?: Record<string, string>;
  responses: Record<number, { description: string; schema?: z.ZodType }>;
  errors: ErrorCode[];
}

/** For the holder of a session token. Its handler runs only with a live session. */
export interface SessionOperation<Body, Query, Params> extends Described<Body, Query, Params> {
  access: 'session';
  /** `ended_too`: an ended session may still be read with a token that has not expired. */
  liveness?: 'ended_too';
  /** What the handler wants to know besides, read together with the session. */
  reads?(call: Call<Body, Query, Params>, caller: Caller): SessionReads | Promise<SessionReads>;
  handle(call: Call<Body, Query, Params>, session: SessionFacts): Promise<Answer>;
}

export interface AdminOperation<Body, Query, Params> extends Described<Body, Query, Params> {
  access: 'admin';
  /**
   * @param admin the admin's name, for the record
   * @param who the same with what tells admins apart
   */
  handle(call: Call<Body, Query, Params>, admin: string, who: Admin): Promise<Answer>;
}

/** For a signed-in person, and nobody else: no agent, and no bootstrap token. */
export interface PersonOperation<Body, Query, Params> extends Described<Body, Query, Params> {
  access: 'person';
  handle(call: Call<Body, Query, Params>, person: SignedInCaller): Promise<Answer>;
}

export interface SignedInCaller {
  identity: Identity;
  /** Of the login by which they are signed in. */
  loginId: string;
}

/** For anybody. */
export interface OpenOperation<Body, Query, Params> extends Described<Body, Query, Params> {
  access: 'none';
  /** What its handler asks for itself; null = none is needed, or it is in the body. For the documentation. */
  credentials?: readonly (SecurityScheme | null)[];
  handle(call: Call<Body, Query, Params>): Promise<Answer>;
}

export type Operation<Body = unknown, Query = unknown, Params = unknown> =
  | SessionOperation<Body, Query, Params>
  | AdminOperation<Body, Query, Params>
  | PersonOperation<Body, Query, Params>
  | OpenOperation<Body, Query, Params>;

/** Keeps the types of one operation while it is written, and forgets them where all are listed. */
export function operation<Body = undefined, Query = undefined, Params = undefined>(
  op: Operation<Body, Query, Params>,
): Operation {
  return op as unknown as Operation;
}
