/**
 * A broker process with the channel `board` that dies by its own SIGKILL, where `DIE_AT` says: `commit`, when
 * the pending grant is written, or `delivery`, when its notice is on the way. Nothing is flushed and no
 * handler runs.
 */
import { flushCompileCache } from 'node:module';
import { z } from 'zod';
import { startBroker } from '../broker/compose/start.ts';
import { systemClock } from '../broker/core/clock.ts';
import { scriptedProvider } from '../broker/scripted-provider.test-support.ts';
import { openStore } from '../broker/store/open.ts';
import { boardModule } from './board.test-support.ts';

const die = () => void process.kill(process.pid, 'SIGKILL');
const at = process.env.DIE_AT;
const provider = scriptedProvider({ name: 'plain', clock: systemClock });
const settings = z.object({ PLAIN: z.string() });
const deliver = async () => {
  if (at === 'delivery') die();
  return new Promise<never>(() => {});
};

await startBroker(process.env, {
  modules: [{ name: 'plain', switchedOnBy: ['PLAIN'], params: provider.params, settings, create: () => provider }],
  channels: [boardModule('board', { name: 'board', deliver })],
  logTo: { write: () => {} },
  openStore: async (options) => {
    const store = await openStore(options);
    return {
      ...store,
      run: async (statement, values) => {
        const rows = await store.run<never>(statement, values);
        if (at === 'commit' && statement.name === 'grant_record') die();
        return rows;
      },
    };
  },
});
// A killed process writes none: the next would strip the types of this file anew.
flushCompileCache();
process.send?.('up');
process.on('disconnect', () => process.exit());
