/**
 * What a lease on PostgreSQL costs, and what its rows cost a query: the provider alone, on a server of its
 * own that syncs as a real one does.
 */
import pg from 'pg';
import { systemClock } from '../../broker/core/clock.ts';
import { newId } from '../../broker/core/ids.ts';
import type { Issued, Json, Plan, Provider, RevocationTarget } from '../../providers/contract.ts';
import { postgres } from '../../providers/postgres/index.ts';
import type { Binaries } from '../../sandbox/postgres/binaries.ts';
import { startPostgres } from '../../sandbox/postgres/start.ts';
import { openShop } from '../shop.ts';
import type { Options } from './options.ts';
import { type TargetResult, targetHeadings, targetLine } from './table.ts';

const never = new AbortController().signal;
const customers = 1_000;
const ordersEach = 100;

/** A table large enough that an index matters, with a policy, and the same rows behind a view. */
const tablesSql = `
  CREATE TABLE public.bills (id bigint PRIMARY KEY, customer_id bigint NOT NULL, amount numeric(10, 2) NOT NULL);
  INSERT INTO public.bills SELECT n, n % ${customers} + 1, n FROM generate_series(1, ${customers * ordersEach}) n;
  CREATE INDEX ON public.bills (customer_id);
  CREATE TABLE public.notes AS SELECT * FROM public.bills;
  ALTER TABLE public.notes ADD PRIMARY KEY (id);
  CREATE INDEX ON public.notes (customer_id);
  ALTER TABLE public.bills OWNER TO shop_owner;
  ALTER TABLE public.notes OWNER TO shop_owner;`;
const prepared = [
  { schema: 'public', table: 'bills', through: 'policy' as const, columns: ['customer_id'] },
  { schema: 'public', table: 'notes', through: 'view' as const, columns: ['customer_id'] },
];
const columns = ['id', 'customer_id', 'amount'];
const capability = {
  tables: [
    { table: 'bills', read: columns, rows: { customer_id: 42 } },
    { table: 'notes', through: 'view', read: columns, rows: { customer_id: 42 } },
  ],
};

interface Lease {
  issued: Issued;
  target: RevocationTarget;
}

export async function measureTarget(
  binaries: Binaries,
  options: Options,
  say: (text: string) => void,
): Promise<TargetResult[]> {
  const settings = { fsync: 'on', log_statement: 'none', shared_buffers: '128MB' };
  const server = await startPostgres(binaries, { settings });
  try {
    const url = await openShop(server, prepared, tablesSql);
    await server.run('VACUUM ANALYZE', undefined, 'shop');
    const provider = providerFor(url);
    const [{ server_version: version }] = (await server.run('SHOW server_version')) as [{ server_version: string }];
    say(`\nPostgreSQL ${version} as a target: a server of its own, fsync on`);
    const results: TargetResult[] = [];
    const live: Lease[] = [];
    const samples = 20 * options.rounds;
    const note = (name: string, times: number[], plain: number[] | null = null) => {
      const result = { ...summary(name, times, plain), version, live_leases: live.length };
      results.push(result);
      say(targetLine(result));
    };
    const mint = () =>
      mintOne(provider, provider.plan(provider.params.parse(capability as Json), 3600), systemClock.now());
    await endAll(provider, [await mint()]);
    for (const count of options.live) {
      const began = performance.now();
      const missing = count - live.length;
      let begun = live.length;
      const makeSome = async () => {
        for (; begun < count; live.push(await mint())) begun += 1;
      };
      await Promise.all([makeSome(), makeSome(), makeSome(), makeSome()]);
      if (missing > 1) say(`${missing} leases made, 4 at a time, in ${seconds(began)} s`);
      if (options.only.includes('postgres-leases')) {
        if (results.length === 0) say(targetHeadings);
        const { mints, revokes, proofs } = await lifeTimes(provider, mint, samples);
        note('postgres-mint', mints);
        note('postgres-revoke', revokes);
        note('postgres-proof', proofs);
      }
      if (options.only.includes('postgres-rows')) {
        if (results.length === 0) say(targetHeadings);
        const agentUrl = String(live[0]!.issued.credential.url).replace(/\?.*/, '');
        for (const { name, times, plain } of await queryTimes(server.url('shop'), agentUrl, samples * 20))
          note(name, times, plain);
      }
    }
    const began = performance.now();
    await endAll(provider, live);
    say(`${live.length} leases ended together in ${seconds(began)} s`);
    return results;
  } finally {
    await server.close();
  }
}

function providerFor(url: string): Provider {
  const settings = postgres.settings.parse({ WRIT_POSTGRES_URL: url });
  const signIdentityToken = () => Promise.reject(new Error('PostgreSQL needs no identity token'));
  return postgres.create(settings, { clock: systemClock, signIdentityToken });
}

async function mintOne(provider: Provider, plan: Plan, intentAt: Date): Promise<Lease> {
  const leaseId = newId('lse', intentAt);
  const issued = await provider.issue({ plan, leaseId, sessionId: 'ses_1', agent: 'bench', signal: never });
  const { handle, secret = null, providerExpiresAt } = issued;
  const target = { leaseId, plan, handle, secret, reserved: null, intentAt, providerExpiresAt, settlingSince: null };
  return { issued, target };
}

async function endAll(provider: Provider, leases: Lease[]): Promise<void> {
  const due = leases.map(({ target }) => target);
  for (const outcome of await provider.revoke(due, [], never))
    if (outcome.state !== 'revoked') throw new Error(`a lease is ${outcome.state}`);
}

/** One more lease, made, ended and tried again and again, beside those that live. */
async function lifeTimes(provider: Provider, mint: () => Promise<Lease>, samples: number) {
  const [mints, revokes, proofs]: [number[], number[], number[]] = [[], [], []];
  for (let n = 0; n < samples; n += 1) {
    const lease = await timed(mints, mint);
    await timed(revokes, () => endAll(provider, [lease]));
    await timed(proofs, async () => {
      const probed = await provider.probe?.(lease.target, never);
      if (probed?.alive !== false) throw new Error('the password of an ended lease was taken');
    });
  }
  return { mints, revokes, proofs };
}

/** The same rows in three ways, in turns, so that what else this machine does weighs on all alike. */
async function queryTimes(plainUrl: string, agentUrl: string, samples: number) {
  const [plain, agent] = [plainUrl, agentUrl].map((connectionString) => new pg.Client({ connectionString }));
  await Promise.all([plain!.connect(), agent!.connect()]);
  try {
    const key = 41;
    const asks = {
      [`${ordersEach} rows`]: {
        plain: 'SELECT id, amount FROM public.bills WHERE customer_id = 42',
        policy: 'SELECT id, amount FROM public.bills',
        view: 'SELECT id, amount FROM writ_public.notes',
      },
      '1 row by key': {
        plain: `SELECT id, amount FROM public.bills WHERE id = ${key}`,
        policy: `SELECT id, amount FROM public.bills WHERE id = ${key}`,
        view: `SELECT id, amount FROM writ_public.notes WHERE id = ${key}`,
      },
    };
    const found: { name: string; times: number[]; plain: number[] }[] = [];
    for (const [what, ways] of Object.entries(asks)) {
      const times: { [way in keyof typeof ways]: number[] } = { plain: [], policy: [], view: [] };
      for (let n = 0; n < samples; n += 1)
        for (const [way, text] of Object.entries(ways) as [keyof typeof ways, string][]) {
          const client = way === 'plain' ? plain! : agent!;
          const { rowCount } = await timed(times[way], () => client.query({ name: `${way} ${what}`, text }));
          if (rowCount !== (what === '1 row by key' ? 1 : ordersEach)) throw new Error(`${way}: ${rowCount} rows`);
        }
      for (const way of ['plain', 'policy', 'view'] as const)
        found.push({ name: `${what}, ${way}`, times: times[way], plain: times.plain });
    }
    return found;
  } finally {
    await Promise.all([plain!.end(), agent!.end()]);
  }
}

async function timed<T>(times: number[], work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const result = await work();
  times.push(performance.now() - began);
  return result;
}

const seconds = (began: number) => ((performance.now() - began) / 1000).toFixed(1);

function summary(name: string, times: number[], plain: number[] | null) {
  const ofPlain = plain === null ? null : round(quantile(times, 0.5) / quantile(plain, 0.5), 2);
  return {
    name,
    samples: times.length,
    p50_ms: round(quantile(times, 0.5), 3),
    p99_ms: round(quantile(times, 0.99), 3),
    of_plain: ofPlain,
  };
}

function quantile(times: number[], share: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

const round = (value: number, digits: number) => Number(value.toFixed(digits));
