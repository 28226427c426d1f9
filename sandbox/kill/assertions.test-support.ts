/**
 * What must hold whenever a broker looks at what a dead one left: asked from the counterparts, compared with
 * the rows.
 */
import assert from 'node:assert/strict';
import { verifyAudit } from '../../broker/audit/verify.ts';
import type { Store } from '../../broker/store/open.ts';
import { agentRole, type World } from '../world.ts';

export type ProviderName = 'aws' | 'github' | 'gcp';

/** Credentials of grants that the counterpart would accept now. */
export async function alive(world: World, provider: ProviderName): Promise<number> {
  if (provider === 'github') return world.github.liveTokens();
  if (provider === 'aws') {
    const object = 'arn:aws:s3:::orders/customers/42/invoice.txt';
    const role = agentRole.split('/').at(-1);
    const ours = world.aws.sessions().filter((session) => session.arn.includes(`assumed-role/${role}/`));
    return ours.filter((session) => world.aws.allows(session.arn, 's3:GetObject', object)).length;
  }
  const url = `${world.gcp.url}/storage/v1/b/statements/o/${encodeURIComponent('customers/42/march.txt')}`;
  const answers = await Promise.all(
    world.gcp.tokens().map(async (token) => {
      const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
      await answer.body?.cancel();
      return answer.status === 200;
    }),
  );
  return answers.filter(Boolean).length;
}

export interface Row {
  id: string;
  status: string;
  handle: unknown;
  sealed: string | null;
  due_at: Date | null;
  provider_expires_at: Date;
  revoke_reason: string | null;
  last_error: string | null;
}

/** The leases of one session. */
export function leasesOf(store: Store, sessionId: string): Promise<Row[]> {
  return store.run<Row>(
    {
      name: 'kill_leases',
      text: `SELECT id, status, handle, sealed, due_at, provider_expires_at, revoke_reason, last_error FROM lease WHERE session_id = $1 ORDER BY id`,
    },
    [sessionId],
  );
}

/**
 * No live credential that no lease row explains: a row that is not over, that will be looked at, and whose
 * end is not past.
 */
export async function explained(world: World, store: Store, provider: ProviderName, now: Date): Promise<void> {
  const before = await alive(world, provider);
  if (before === 0) return;
  const rows = await store.run<{ id: string }>(
    {
      name: 'kill_explained',
      text: `
        SELECT id FROM lease WHERE provider = $1 AND status IN ('issuing', 'active', 'revoking') AND due_at IS NOT NULL AND provider_expires_at > $2`,
    },
    [provider, now],
  );
  // The broker works meanwhile: what it revoked while the rows were read was alive before them and is dead
  // after.
  const living = Math.min(before, await alive(world, provider));
  // A Google mint leaves the token before downscoping too: two tokens to one lease.
  const each = provider === 'gcp' ? 2 : 1;
  assert.ok(living <= rows.length * each, `${living} live at ${provider}, explained by ${rows.length} leases`);
}

/**
 * When everything has run its course: nothing is alive, locked (the lock of a dead holder ends by itself, and
 * the next one takes it over), reserved, sealed or in between, and every chain holds.
 */
export async function atRest(world: World, store: Store, sessionId: string, now: Date): Promise<void> {
  for (const provider of ['aws', 'github', 'gcp'] as const) assert.equal(await alive(world, provider), 0, provider);
  const [left] = await store.run<Record<string, number>>(
    {
      name: 'kill_left',
      text: `
        SELECT (SELECT count(*) FROM upstream_lock WHERE until > $1)::int AS locks, (SELECT count(*) FROM pool_slot)::int AS slots,
               (SELECT count(*) FROM lease WHERE sealed IS NOT NULL)::int AS secrets, (SELECT count(*) FROM lease WHERE prune_at IS NOT NULL)::int AS unpruned,
               (SELECT count(*) FROM lease WHERE status IN ('issuing', 'active', 'revoking'))::int AS leases,
               (SELECT count(*) FROM grants WHERE status IN ('issuing', 'issued', 'approved', 'pending'))::int AS grants,
               (SELECT count(*) FROM session WHERE status = 'active')::int AS sessions`,
    },
    [now],
  );
  assert.deepEqual(left, { locks: 0, slots: 0, secrets: 0, unpruned: 0, leases: 0, grants: 0, sessions: 0 });
  const ends = await store.run<{ lease_id: string; ends: number }>(
    {
      name: 'kill_ends',
      text: `
        SELECT l.id AS lease_id, count(e.*)::int AS ends FROM lease l
        LEFT JOIN audit_event e ON e.lease_id = l.id AND e.type IN ('lease.revoked', 'lease.expired', 'lease.failed')
        WHERE l.session_id = $1 GROUP BY l.id HAVING count(e.*) <> 1`,
    },
    [sessionId],
  );
  assert.deepEqual(ends, [], 'every lease ends once');
  assert.equal(world.aws.inlinePolicies(agentRole)['writ-revocations'], undefined, 'the denial is pruned');
  for (const account of world.env.WRIT_GCP_SERVICE_ACCOUNTS!.split(','))
    assert.equal(world.gcp.isDisabled(account), false, `${account} is back in use`);
  assert.equal((await verifyAudit(store)).broken, null);
}
