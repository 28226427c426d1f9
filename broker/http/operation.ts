/**
 * One endpoint as data: where it is, what it takes, what it answers, who may call it, and the function that does it. The schemas validate and document.
 */
import type { z } from 'zod';
import type { ErrorCode } from '../core/errors.ts';
import type { Caller } from '../sessions/authenticate.ts';

export interface Answer {
  status: number;
  /** JSON; absent = no body. */
  body?: unknown;
  headers?: Record<string, string>;
}

/** What a handler gets, checked. */
export interface Call<Body, Query, Params> {
  body: Body;
  query: Query;
  params: Params;
  /** By lower-case name. */
  header(name: string): string | undefined;
  requestId: string;
  /** Whom the network says the caller is, when it says so. */
  address: string | undefined;
  /** Aborted when the client has gone: long polls stop. */
  signal: AbortSignal;
}

/** Who must be calling. `session`: the holder of a session token; `admin`: an admin; `none`: anybody. */
export type Access = 'session' | 'admin' | 'none';

export interface Operation<Body = unknown, Query = unknown, Params = unknown> {
  method: 'get' | 'post' | 'put' | 'delete';
  /** Express form, e.g. `/v1/grants/:id`. */
  path: string;
  /** Called all the time: routed first. */
  busy?: boolean;
  summary: string;
  tag: string;
  access: Access;
  body?: z.ZodType<Body>;
  /** Media type of the body; JSON unless said. */
  bodyType?: 'json' | 'form' | 'yaml';
  /** A body may be left out. */
  bodyOptional?: boolean;
  query?: z.ZodType<Query>;
  params?: z.ZodType<Params>;
  /** Request headers with a meaning, for the documentation. */
  headers?: Record<string, string>;
  responses: Record<number, { description: string; schema?: z.ZodType }>;
  errors: ErrorCode[];
  handle(call: Call<Body, Query, Params>, who: Who): Promise<Answer>;
}

/** The caller as far as the access asked for one. */
export interface Who {
  caller: Caller;
  admin: string;
}

/** Keeps the types of one operation while it is written, and forgets them where all are listed. */
export function operation<Body = undefined, Query = undefined, Params = undefined>(
  op: Operation<Body, Query, Params>,
): Operation {
  return op as unknown as Operation;
}
