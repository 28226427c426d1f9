/**
 * The process that is killed: the real broker, told over IPC when to start, when its clock moves, and after
 * which step to die. It dies by SIGKILL from its own hand, so that it dies exactly there: no handler runs,
 * nothing is flushed.
 */

import { flushCompileCache } from 'node:module';
import { startBroker } from '../../broker/compose/start.ts';
import { manualClock } from '../../broker/core/clock.ts';
import { openStore, type Store } from '../../broker/store/open.ts';
import { nextMoment, watchBeats, watchStore, watchUpstream } from './steps.test-support.ts';

export type Order =
  | { do: 'start'; env: Record<string, string>; now: number }
  /** From now on steps count. `dieAfter`: the n-th of them is the last, counted from 1; null = live on. */
  | { do: 'arm'; dieAfter: number | null }
  /** Answered when the reconciler sleeps. */
  | { do: 'rest' }
  /** Answered when a whole beat has passed. */
  | { do: 'advance'; ms: number };

export interface Report {
  /** Steps since armed. */
  steps: string[];
  /** When the database next asks for something to be done. */
  next: number | null;
}

let counting = false;
let dieAfter: number | null = null;
const steps: string[] = [];
const step = (name: string) => {
  if (!counting) return;
  steps.push(name);
  if (steps.length === dieAfter) process.kill(process.pid, 'SIGKILL');
};

const clock = manualClock(new Date(0));
const beats = watchBeats(clock);
let store: Store | undefined;

process.on('message', async (order: Order) => {
  if (order.do === 'start') {
    clock.set(new Date(order.now));
    watchUpstream(step);
    const broker = await startBroker(order.env, {
      clock: beats.clock,
      openStore: async (options) => watchStore(await openStore(options), step),
    });
    store = broker.store;
    // What its reconciler finds at the start is no step of what follows.
    await beats.asleep();
  }
  if (order.do === 'arm') {
    counting = true;
    dieAfter = order.dieAfter;
  }
  if (order.do === 'rest') await beats.asleep();
  if (order.do === 'advance') {
    clock.advance(order.ms);
    await beats.asleep(clock.now());
  }
  const next = store === undefined ? null : await nextMoment(store);
  process.send?.({ steps, next: next?.getTime() ?? null } satisfies Report);
});

// A killed process writes no compile cache: each would strip the types of this file anew, and load the
// compiler that does so.
flushCompileCache();

// Whoever gives the orders is gone: nobody is left to be killed for.
process.on('disconnect', () => process.exit());
