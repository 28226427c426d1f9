/** Liveness (`/healthz`), readiness (`/readyz`) and metrics (`/metrics`). */
import { hash, timingSafeEqual } from 'node:crypto';
import type { Express } from 'express';
import type { Registry } from 'prom-client';
import type { Clock } from '../core/vocabulary.ts';
import type { KeyRing } from '../keys/ring.ts';
import type { Statement, Store } from '../store/open.ts';

const pingStatement: Statement = {
  name: 'ping',
  text: `SELECT count(*)::int AS unfinished FROM _prisma_migrations WHERE finished_at IS NULL AND rolled_back_at IS NULL`,
};

/** The database is checked at most this often, however many ask. */
const readyLastsMs = 1_000;

export interface HealthDeps {
  store: Store;
  clock: Clock;
  ring: KeyRing;
  registry: Registry;
  /** Needed to read `/metrics`; null = anybody may. */
  metricsToken: string | null;
  stopping(): boolean;
  /** Names of what is weak and yet serves; asked at each answer. */
  warnings?(): readonly string[];
}

/** Mounted by the API and by workers alike. */
export function mountHealth(app: Express, deps: HealthDeps): void {
  app.get('/healthz', (_req, res) => {
    res.json({ status: 'ok' });
  });

  let last: { at: number; checks: ReturnType<typeof check> } | null = null;
  app.get('/readyz', async (_req, res) => {
    const now = deps.clock.now().getTime();
    if (last === null || now >= last.at + readyLastsMs) last = { at: now, checks: check(deps) };
    const checks = { ...(await last.checks), accepting: !deps.stopping() };
    const warnings = deps.warnings?.() ?? [];
    const warned = warnings.length === 0 ? {} : { warnings };
    const ready = Object.values(checks).every(Boolean);
    res.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not ready', checks, ...warned });
  });

  app.get('/metrics', async (req, res) => {
    if (deps.metricsToken !== null && !carries(req.get('authorization'), deps.metricsToken)) {
      res.status(401).setHeader('WWW-Authenticate', 'Bearer').end();
      return;
    }
    res.type(deps.registry.contentType).send(await deps.registry.metrics());
  });
}

/** Never rejects. */
async function check(deps: HealthDeps) {
  const unfinished = await deps.store
    .run<{ unfinished: number }>(pingStatement, [])
    .then(([row]) => row?.unfinished ?? null)
    .catch(() => null);
  let signingKey = true;
  try {
    deps.ring.current();
  } catch {
    signingKey = false;
  }
  return { database: unfinished !== null, migrations: unfinished === 0, signing_key: signingKey };
}

/** In constant time: digests have one length, whatever was sent. */
function carries(authorization: string | undefined, token: string): boolean {
  const digest = (text: string) => hash('sha256', text, 'buffer');
  const [scheme, sent, ...rest] = (authorization ?? '').split(' ');
  return scheme?.toLowerCase() === 'bearer' && rest.length === 0 && timingSafeEqual(digest(sent ?? ''), digest(token));
}
