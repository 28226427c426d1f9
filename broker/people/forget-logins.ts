import type { Statement, Store } from '../store/open.ts';

const forgetStatement: Statement = {
  name: 'login_forget',
  text: 'DELETE FROM login WHERE expires_at <= $1::timestamptz',
};

/** Deletes logins that have expired and cannot be used any more. */
export async function forgetLogins(store: Store, now: Date): Promise<void> {
  await store.run(forgetStatement, [now]);
}
