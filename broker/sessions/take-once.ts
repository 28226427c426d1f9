/** What must not be taken twice, on any process: remembered in `replay` until it is too old anyway. */
import type { Statement, Store } from '../store/open.ts';

const onceStatement: Statement = {
  name: 'replay_once',
  text: `
    INSERT INTO replay (key, expires_at) VALUES ($1::text, $2::timestamptz) ON CONFLICT (key) DO NOTHING RETURNING key`,
};

/** @returns whether it is the first time */
export async function takeOnce(store: Store, key: string, until: Date): Promise<boolean> {
  return (await store.run(onceStatement, [key, until])).length === 1;
}
