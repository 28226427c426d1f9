/**
 * The Express app: operations, pages, health. Built from its parts by `compose/api.ts`; tests build it the
 * same way.
 */
import express, { type Express, type Request, type Response, type Router } from 'express';
import helmet from 'helmet';
import type { Logger } from 'pino';
import { Histogram } from 'prom-client';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { WritError } from '../core/errors.ts';
import { newRequestId } from '../core/ids.ts';
import { networkOf } from '../core/network.ts';
import { mountErrorPages } from './error-pages.ts';
import { type HealthDeps, mountHealth } from './health.ts';
import { type MountDeps, mountOperations } from './mount.ts';
import { openApiDocument } from './openapi.ts';
import type { Operation } from './operation.ts';
import { problemHandler, sendProblem } from './problem.ts';

export interface AppDeps extends MountDeps, HealthDeps {
  operations: readonly Operation[];
  /** Pages for people, in order. */
  pages: readonly Router[];
  version: string;
  /**
   * Number of proxies whose X-Forwarded-* headers are trusted. Never `true`: any client could then claim any
   * address.
   */
  trustProxy: number;
  /** Per address or IPv6 /64, in this process; 0 = no limit. The limits per agent hold over all processes. */
  requestsPerMinute: number;
  log: Logger;
}

const paths = { health: new Set(['/healthz', '/readyz', '/metrics']) };

/**
 * AuthZEN Authorization API 1.0 section 10.1.3: there, the caller names the request, and whatever is answered
 * has its name.
 */
function echoedId(req: Request): string | undefined {
  const id = req.get('x-request-id');
  const standard = req.path.startsWith('/access/v1/') || req.path === '/.well-known/authzen-configuration';
  return standard && id !== undefined && /^[\x20-\x7e]{1,1024}$/.test(id) ? id : undefined;
}

export function createApp(deps: AppDeps): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('trust proxy', deps.trustProxy);
  app.set('query parser', 'simple');
  // One spelling for each path: proofs are made for it, and proxies judge by it.
  app.enable('case sensitive routing');
  app.enable('strict routing');

  const seconds = new Histogram({
    name: 'writ_http_request_seconds',
    help: 'Time to answer, by route and status.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30],
    registers: [deps.registry],
  });
  const limiter =
    deps.requestsPerMinute === 0 ? null : new RateLimiterMemory({ points: deps.requestsPerMinute, duration: 60 });

  app.use(async (req, res, next) => {
    const requestId = newRequestId();
    res.locals.requestId = requestId;
    res.setHeader('X-Request-Id', echoedId(req) ?? requestId);
    const stopTimer = seconds.startTimer();
    res.once('close', () => {
      const route = (req.route as { path?: string } | undefined)?.path ?? 'unmatched';
      const ms = stopTimer({ method: req.method, route, status: res.statusCode }) * 1000;
      // Log the route, not the URL: a query may contain a secret that was put there by mistake.
      deps.log.info(
        { request_id: requestId, method: req.method, route, status: res.statusCode, ms: Math.round(ms * 10) / 10 },
        'request',
      );
    });
    if (limiter === null || paths.health.has(req.path)) return next();
    try {
      await limiter.consume(networkOf(req.ip));
    } catch {
      const tooMany = new WritError('rate_limited', { retryAfterSeconds: 10 });
      sendProblem(res, tooMany, deps.publicUrl, requestId, deps.log, req.path.startsWith('/oauth/'));
      return;
    }
    next();
  });

  mountOperations(app, deps.operations, deps);
  mountHealth(app, deps);
  // Written when somebody first asks: few do, and every start would pay for it.
  let openapi: string | undefined;
  app.get('/openapi.json', (_req, res) => {
    openapi ??= JSON.stringify(openApiDocument(deps.operations, deps.publicUrl, deps.version), null, 2);
    res.type('application/json').send(openapi);
  });

  // Only pages need browser headers; API answers carry `no-store` and are never rendered.
  app.use(helmet({ contentSecurityPolicy: false, referrerPolicy: { policy: 'no-referrer' } }));
  mountErrorPages(app);
  for (const page of deps.pages) app.use(page);

  app.use((_req: Request, _res: Response) => {
    throw new WritError('not_found');
  });
  app.use(problemHandler(deps.publicUrl, deps.log));
  return app;
}
