/** Is the process up (`/healthz`), can it serve (`/readyz`), how does it fare (`/metrics`). */
import type { Express } from 'express';
import type { Registry } from 'prom-client';
import type { KeyRing } from '../keys/ring.ts';
import type { Statement, Store } from '../store/open.ts';

const pingStatement: Statement = {
  name: 'ping',
  text: `SELECT count(*)::int AS unfinished FROM _prisma_migrations WHERE finished_at IS NULL AND rolled_back_at IS NULL`,
};

/** Mounted by the API and by workers alike. */
export function mountHealth(
  app: Express,
  deps: { store: Store; ring: KeyRing; registry: Registry; stopping(): boolean },
): void {
  app.get('/healthz', (_req, res) => {
    res.json({ status: 'ok' });
  });
  app.get('/readyz', async (_req, res) => {
    const attempt = async (check: () => Promise<boolean> | boolean) => {
      try {
        return await check();
      } catch {
        return false;
      }
    };
    let migrations = false;
    const database = await attempt(async () => {
      const [row] = await deps.store.run<{ unfinished: number }>(pingStatement, []);
      migrations = row?.unfinished === 0;
      return true;
    });
    const checks = {
      database,
      migrations,
      signing_key: await attempt(() => deps.ring.current() !== undefined),
      accepting: !deps.stopping(),
    };
    const ready = Object.values(checks).every(Boolean);
    res.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not ready', checks });
  });
  app.get('/metrics', async (_req, res) => {
    res.type(deps.registry.contentType).send(await deps.registry.metrics());
  });
}
