/** The bootstrap token is for the time before there is an admin. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { Response } from 'express';
import { assertEventsFit } from '../audit/rows.test-support.ts';
import { manualClock } from '../core/clock.ts';
import { openTestStore, testBackends } from '../store/store.test-support.ts';
import { isBootstrap, makeBootstrapToken, renewBootstrapToken } from './admin-access.ts';
import { openLogin } from './login.ts';

for (const backend of await testBackends()) {
  describe(`the bootstrap token on ${backend}`, async () => {
    const store = await openTestStore(backend);
    const clock = manualClock(new Date('2026-03-01T12:00:00Z'));
    after(async () => {
      await assertEventsFit(store);
      await store.close();
    });
    const signIn = (groups: string[]) =>
      openLogin(
        { store, clock, publicUrl: 'https://writ.example', adminGroup: 'writ-admins' },
        { cookie: () => {} } as unknown as Response,
        { identity: { issuer: 'https://id.example', subject: 's', groups, aliases: [] }, renewal: null },
        'req_1',
      );
    const opens = (token: string | null) => isBootstrap(store, `Bearer ${token}`);
    const ends = () => store.prisma.auditEvent.count({ where: { type: 'admin.bootstrap_expired' } });

    test('it ends when the first admin signs in, not before, once; another is made by command', async () => {
      const token = await makeBootstrapToken(store, clock);
      await signIn(['team']);
      assert.equal(await opens(token), true);
      await signIn(['team', 'writ-admins']);
      await signIn(['writ-admins']);
      assert.deepEqual([await opens(token), await ends()], [false, 1]);
      assert.equal(await makeBootstrapToken(store, clock), null, 'a restart makes none');
      const again = await renewBootstrapToken(store, clock);
      assert.deepEqual([await opens(again), await opens(token)], [true, false]);
      await signIn(['writ-admins']);
      assert.deepEqual([await opens(again), await ends()], [false, 2]);
    });
  });
}
