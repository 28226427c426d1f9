import type { Statement, Store } from '../store/open.ts';

const forgetStatement: Statement = {
  name: 'replay_forget',
  text: 'DELETE FROM replay WHERE expires_at <= $1::timestamptz',
};

/** Deletes the marks of used proofs that are too old to be taken anyway. */
export async function forgetReplays(store: Store, now: Date): Promise<void> {
  await store.run(forgetStatement, [now]);
}
