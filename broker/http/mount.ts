/**
 * Mounts operations on Express: body, access, validation, handler, answer. Errors leave through `problem.ts`.
 */
import type { Express, Request, RequestHandler, Response } from 'express';
import express from 'express';
import type { Logger } from 'pino';
import type { z } from 'zod';
import { requireClock, type Timed } from '../core/clock-guard.ts';
import { asWritError, type FieldFault, WritError } from '../core/errors.ts';
import { fieldWords } from '../core/field-words.ts';
import type { Admin } from '../people/identity.ts';
import type { Caller } from '../sessions/authenticate.ts';
import { namesTwice } from './names-twice.ts';
import type { Answer, Call, Operation, SignedInCaller } from './operation.ts';
import { sendProblem } from './problem.ts';
import type { Refusals } from './refusals.ts';
import { noteRefusedRequest } from './refused-request.ts';
import type { SessionDoor } from './session-door.ts';
import { textFaults, zodFaults } from './text.ts';

export interface MountDeps extends Timed {
  publicUrl: string;
  log: Logger;
  door: SessionDoor;
  refusals: Pick<Refusals, 'note'>;
  /** @throws WritError `unauthenticated`, `forbidden` */
  authorizeAdmin(req: Request): Promise<Admin>;
  /** @throws WritError `unauthenticated`, `forbidden` */
  authorizePerson(req: Request): Promise<SignedInCaller>;
}

const jsonLimit = '64kb';
// Refuse compressed bodies: ours are small, and a malformed or huge one would show only after decompression.
const parsers = {
  json: express.json({
    limit: jsonLimit,
    strict: true,
    inflate: false,
    verify: (_req, res, raw) => {
      (res as Response).locals.raw = raw;
    },
  }),
  form: express.text({ limit: jsonLimit, inflate: false, type: 'application/x-www-form-urlencoded' }),
  yaml: express.text({
    limit: '1mb',
    inflate: false,
    type: ['application/yaml', 'application/x-yaml', 'text/yaml', 'text/plain'],
  }),
  set: express.text({ limit: jsonLimit, inflate: false, type: 'application/secevent+jwt' }),
} satisfies Record<string, RequestHandler>;

/** Mounts all operations, and 405 for the other methods of their paths. */
export function mountOperations(app: Express, operations: readonly Operation[], deps: MountDeps): void {
  // Express tries its routes in order: mount the busiest first.
  const busy = (operation: Operation) => Number(operation.busy === true);
  for (const operation of operations.toSorted((a, b) => busy(b) - busy(a))) {
    const stack = operation.body === undefined ? [] : [parsing(operation.bodyType ?? 'json')];
    app[operation.method](operation.path, ...stack, (req, res) => serve(operation, req, res, deps));
  }
  for (const [path, own] of Map.groupBy(operations, (operation) => operation.path)) {
    const allow = own.map((operation) => operation.method.toUpperCase()).join(', ');
    app.all(path, (_req, res) => {
      res.setHeader('Allow', allow);
      throw new WritError('method_not_allowed');
    });
  }
}

/** A body that cannot be read is refused where the others are: after the caller is known. */
function parsing(type: keyof typeof parsers): RequestHandler {
  return (req, res, next) =>
    parsers[type](req, res, (fault: unknown) => {
      if (fault !== undefined) res.locals.unreadable = fault;
      else if (res.locals.raw !== undefined && namesTwice(String(res.locals.raw), req.body))
        res.locals.unreadable = new WritError('bad_request', { detail: 'The body has a member twice.' });
      res.locals.raw = undefined;
      next();
    });
}

async function serve(operation: Operation, req: Request, res: Response, deps: MountDeps): Promise<void> {
  const requestId = String(res.locals.requestId);
  const oauth = operation.bodyType === 'form';
  // Read now: after a disconnect the socket no longer has the address.
  const address = req.ip;
  let caller: Caller | null = null;
  try {
    if (operation.needsClock === true) requireClock(deps);
    // Authenticate before validating: an unknown caller learns nothing from validation errors.
    const enter = await entrance(operation, req, deps, (known) => {
      caller = known;
    });
    if (res.locals.unreadable !== undefined) throw asWritError(res.locals.unreadable);
    const answer = await enter({
      body: readBody(operation, req, oauth),
      query: operation.query === undefined ? undefined : read(operation.query, req.query, oauth),
      params: readParams(operation.params, req.params),
      header: (name: string) => req.get(name),
      requestId,
      address,
      get signal() {
        return goneSignal(res);
      },
    });
    send(res, answer);
  } catch (error) {
    const refusal = inDialect(operation, await refusalOf(operation, req, error, requestId, deps));
    await noteRefusedRequest(
      deps.refusals,
      { method: req.method, route: operation.path, address, requestId, caller },
      refusal,
    );
    sendProblem(res, refusal, deps.publicUrl, requestId, deps.log, oauth);
  }
}

function send(res: Response, answer: Answer): void {
  if (answer.undelivered !== undefined) onceLost(res, answer.undelivered);
  res.status(answer.status);
  res.setHeader('Cache-Control', 'no-store');
  for (const [name, value] of Object.entries(answer.headers ?? {})) res.setHeader(name, value);
  if (answer.body === undefined) {
    res.end();
    return;
  }
  if (!res.hasHeader('Content-Type')) res.setHeader('Content-Type', 'application/json');
  res.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body));
}

/** Calls when the connection closes, or has closed, before the whole answer was handed to it. */
function onceLost(res: Response, lost: () => Promise<void>): void {
  if (res.destroyed) void lost();
  else {
    res.once('close', () => {
      if (!res.writableFinished) void lost();
    });
  }
}

/**
 * The only way to a handler: authenticates the caller before the request is validated, and checks that a
 * session is live before its handler runs.
 */
async function entrance(
  operation: Operation,
  req: Request,
  deps: MountDeps,
  known: (caller: Caller) => void,
): Promise<(call: Call<unknown, unknown, unknown>) => Promise<Answer>> {
  switch (operation.access) {
    case 'session': {
      const caller = await deps.door.identify(req);
      known(caller);
      return async (call) => {
        const reads = (await operation.reads?.(call, caller)) ?? {};
        return operation.handle(call, await deps.door.admit(caller, reads, operation.liveness === 'ended_too'));
      };
    }
    case 'admin': {
      const admin = await deps.authorizeAdmin(req);
      return (call) => operation.handle(call, admin.name, admin);
    }
    case 'person': {
      const person = await deps.authorizePerson(req);
      return (call) => operation.handle(call, person);
    }
    case 'none':
      return (call) => operation.handle(call);
  }
}

/** A valid token without a valid proof may be stolen: record that on the session's chain before refusing. */
async function refusalOf(
  operation: Operation,
  req: Request,
  error: unknown,
  requestId: string,
  deps: MountDeps,
): Promise<unknown> {
  if (operation.access !== 'session' || !(error instanceof WritError) || error.code !== 'invalid_dpop_proof')
    return error;
  return deps.door.recordMisuse(req, error, requestId).then(
    () => {
      error.recorded = true;
      return error;
    },
    (instead) => instead,
  );
}

/** AuthZEN Authorization API 1.0 section 10.1.2 knows no 415. */
function inDialect(operation: Operation, refusal: unknown): unknown {
  if (operation.dialect !== 'authzen' || !(refusal instanceof WritError)) return refusal;
  if (refusal.code !== 'unsupported_media_type') return refusal;
  return new WritError('bad_request', { detail: 'The body must be JSON, sent as application/json.' });
}

/** Aborts when the client closes the connection before it was answered. */
function goneSignal(res: Response): AbortSignal {
  const gone = new AbortController();
  if (res.destroyed) gone.abort(new Error('client gone'));
  res.once('close', () => gone.abort(new Error('client gone')));
  return gone.signal;
}

function readBody(operation: Operation, req: Request, oauth: boolean): unknown {
  if (operation.body === undefined) return undefined;
  const { bodyType = 'json' } = operation;
  if (req.body === undefined || (bodyType !== 'json' && typeof req.body !== 'string')) {
    const empty =
      req.get('content-length') === '0' ||
      (req.get('content-length') === undefined && req.get('transfer-encoding') === undefined);
    if (!empty) throw new WritError('unsupported_media_type');
    if (operation.bodyOptional !== true) throw refuse([{ path: '', message: 'a body is required' }], oauth);
  }
  if (bodyType === 'yaml' || bodyType === 'set') return req.body ?? {};
  if (bodyType === 'form' && !inUtf8(req)) throw new WritError('unsupported_media_type');
  const body = bodyType === 'form' ? fieldsOf(req.body ?? '', operation.repeatable ?? []) : (req.body ?? {});
  const faults = textFaults(body);
  if (faults.length > 0) throw refuse(faults, oauth);
  return read(operation.body, body, oauth);
}

/** RFC 6749 appendix B. Proxies that inspect the request read it as UTF-8 too. */
function inUtf8(req: Request): boolean {
  const charset = /charset\s*=\s*"?([^";\s]+)/i.exec(req.get('content-type') ?? '')?.[1] ?? 'utf-8';
  return charset.toLowerCase() === 'utf-8';
}

const mostFields = 50;

/**
 * A field without a value counts as left out; one that comes twice is a list, which no schema takes but of
 * those that may be repeated (RFC 6749 section 3.2).
 */
function fieldsOf(form: string, repeatable: readonly string[]): Record<string, unknown> {
  const fields = new Map<string, unknown>();
  let count = 0;
  for (const [name, value] of new URLSearchParams(form)) {
    count += 1;
    if (count > mostFields) throw new WritError('body_too_large');
    if (value === '') continue;
    const before = fields.get(name);
    if (before === undefined) fields.set(name, value);
    else fields.set(name, repeatable.includes(name) ? [before, value].flat() : []);
  }
  return Object.fromEntries(fields);
}

function read(schema: z.ZodType | undefined, value: unknown, oauth: boolean): unknown {
  if (schema === undefined) return undefined;
  const parsed = schema.safeParse(value, { error: (issue) => fieldWords(issue) });
  if (parsed.success) return parsed.data;
  throw refuse(zodFaults(parsed.error.issues), oauth);
}

/** A path parameter that is not of our form names nothing: 404, as for what belongs to somebody else. */
function readParams(schema: z.ZodType | undefined, value: unknown): unknown {
  if (schema === undefined) return undefined;
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new WritError('not_found');
}

function refuse(errors: FieldFault[], oauth: boolean): WritError {
  return new WritError(oauth ? 'invalid_request' : 'bad_request', { errors: errors.slice(0, 50) });
}
