/** Liveness (`/healthz`), readiness (`/readyz`) and metrics (`/metrics`). */
import type { Express } from 'express';
import type { Registry } from 'prom-client';
import type { Clock } from '../core/vocabulary.ts';
import { carriesBearer } from './bearer.ts';

/**
 * One thing that the next request needs. `compose/readiness.ts` has the list; the room that knows what can be
 * wrong has the words.
 */
export interface ReadinessCheck {
  /** Its member of `checks` in the answer of `/readyz`. */
  name: string;
  /** Shown, but does not make the process unready. Default false. */
  warning?: boolean;
  /**
   * @returns what is wrong, in words for an operator that hold no secret; null = it holds. What it throws
   * counts as wrong.
   */
  fault(): Promise<string | null>;
}

/** What was found out about one check. */
interface Finding {
  name: string;
  warning: boolean;
  fault: string | null;
}

/** The checks are made at most this often, however many ask. */
const readyLastsMs = 1_000;

export interface HealthDeps {
  clock: Clock;
  checks: readonly ReadinessCheck[];
  /** Why this process cannot go on and should be started anew, in words; null = it can. */
  broken?(): string | null;
  registry: Registry;
  /** Needed to read `/metrics`; null = anybody may. */
  metricsToken: string | null;
  stopping(): boolean;
}

/** Mounted by the API and by workers alike. */
export function mountHealth(app: Express, deps: HealthDeps): void {
  app.get('/healthz', (_req, res) => {
    const broken = deps.broken?.() ?? null;
    if (broken === null) res.json({ status: 'ok' });
    else res.status(503).json({ status: 'broken', detail: broken });
  });

  const findings = atMostEvery(deps.clock, readyLastsMs, () => findOut(deps.checks));
  app.get('/readyz', async (_req, res) => {
    const found = await findings();
    const faults = found.filter(({ fault, warning }) => fault !== null && !warning);
    const warnings = found.filter(({ fault, warning }) => fault !== null && warning);
    const accepting = !deps.stopping();
    const checks = Object.fromEntries(found.filter((one) => !one.warning).map((one) => [one.name, one.fault === null]));
    const ready = accepting && faults.length === 0;
    res.status(ready ? 200 : 503).json({
      status: ready ? 'ready' : 'not ready',
      checks: { ...checks, accepting },
      ...(faults.length === 0 ? {} : { faults: byName(faults) }),
      ...(warnings.length === 0 ? {} : { warnings: byName(warnings) }),
    });
  });

  app.get('/metrics', async (req, res) => {
    if (deps.metricsToken !== null && !carriesBearer(req.get('authorization'), deps.metricsToken)) {
      res.status(401).setHeader('WWW-Authenticate', 'Bearer').end();
      return;
    }
    res.type(deps.registry.contentType).send(await deps.registry.metrics());
  });
}

const byName = (found: readonly Finding[]) => Object.fromEntries(found.map(({ name, fault }) => [name, fault]));

/** Never rejects. */
function findOut(checks: readonly ReadinessCheck[]): Promise<Finding[]> {
  return Promise.all(
    checks.map(async ({ name, warning = false, fault }) => ({
      name,
      warning,
      // A driver's message may quote an address or a name of the operator's: the log has it.
      fault: await fault().catch(() => 'could not be found out; the log of this process may say more'),
    })),
  );
}

/** One run at a time: a database that is slow to answer must not be asked again by every probe meanwhile. */
function atMostEvery<T>(clock: Clock, ms: number, run: () => Promise<T>): () => Promise<T> {
  let last: { at: number; done: boolean; result: Promise<T> } | null = null;
  return () => {
    const now = clock.now().getTime();
    if (last === null || (last.done && (now >= last.at + ms || now < last.at))) {
      const fresh = { at: now, done: false, result: run() };
      fresh.result.finally(() => {
        fresh.done = true;
      });
      last = fresh;
    }
    return last.result;
  };
}
