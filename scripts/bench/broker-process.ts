/** The broker as it is, with one more provider; only the line to the benchmark is added. */
import { startBroker } from '../../broker/compose/start.ts';
import { providerModules } from '../../providers/registry.ts';
import { answerParent, usageOf } from './child.ts';
import { instantModule } from './instant-provider.ts';

answerParent(async () => {
  const broker = await startBroker(process.env, { modules: [...providerModules, instantModule] });
  return {
    usage: () => usageOf(broker.store.roundTrips()),
    stop: () => broker.stop(),
  };
});
