/**
 * Several workers on one database: what one of them denies, the others never undo, and each lease is settled
 * once.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { type Broker, startBroker } from '../broker/compose/start.ts';
import { systemClock } from '../broker/core/clock.ts';
import { createTestDatabase, testBackends } from '../broker/store/store.test-support.ts';
import { type Session, Writ } from '../client/index.ts';
import { startWorld, type World } from './world.ts';

const servers = (await testBackends()).includes('postgres');
const count = 30;

let world: World;
let database: Awaited<ReturnType<typeof createTestDatabase>>;
const brokers: Broker[] = [];

before(async () => {
  if (!servers) return;
  world = await startWorld({ clock: systemClock });
  database = await createTestDatabase();
  const env = {
    ...world.env,
    DATABASE_URL: database.url,
    WRIT_KEY_ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64url'),
    WRIT_LOG_LEVEL: 'silent',
  };
  brokers.push(await startBroker({ ...env, WRIT_ROLE: 'api' }));
  for (let n = 0; n < 3; n += 1) brokers.push(await startBroker({ ...env, WRIT_ROLE: 'worker', PORT: '0' }));
});
after(async () => {
  for (const broker of brokers) await broker.stop();
  await world?.close();
  await database?.drop();
});

async function open(): Promise<Session> {
  return Writ.openSession({
    url: world.brokerUrl,
    subjectToken: await world.subjectToken(),
    taskType: 'answer-invoice-question',
    inputs: { customer_id: '42' },
  });
}

test('three workers, one role, thirty leases: every denial stands in the end, and each lease is revoked once', {
  skip: !servers,
}, async () => {
  const sessions = await Promise.all([open(), open(), open()]);
  const neighbour = await open();
  const read = (credential: { accessKeyId: string; secretAccessKey: string; sessionToken: string }) =>
    new S3Client({
      endpoint: world.aws.url,
      region: 'us-east-1',
      forcePathStyle: true,
      maxAttempts: 1,
      credentials: credential,
    }).send(new GetObjectCommand({ Bucket: 'orders', Key: 'customers/42/invoice.txt' }));
  const grants = await Promise.all(
    sessions.flatMap((session) =>
      Array.from({ length: count / 3 }, () => session.grant('read-customer-files', {}, { type: 'aws' })),
    ),
  );
  const spared = await neighbour.grant('read-customer-files', {}, { type: 'aws' });

  const ended = await Promise.all(sessions.map((session) => session.end({ waitSeconds: 40 })));
  const leases = ended.flatMap((overview) => overview.leases);
  assert.deepEqual([leases.length, ...new Set(leases.map((lease) => lease.status))], [count, 'revoked']);

  for (const { credential } of grants) await assert.rejects(read(credential), { name: 'AccessDenied' });
  await read(spared.credential);

  const { store } = brokers[0]!;
  const settled = await store.prisma.auditEvent.groupBy({
    by: ['leaseId'],
    where: { type: 'lease.revoked' },
    _count: true,
  });
  assert.deepEqual([settled.length, ...new Set(settled.map((row) => row._count))], [count, 1]);
  await neighbour.end({ waitSeconds: 20 });
});
