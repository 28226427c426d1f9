/** The counterparts, in a process of their own so that their CPU is not the broker's. */
import { systemClock } from '../../broker/core/clock.ts';
import { startWorld } from '../../sandbox/world.ts';
import { answerParent } from './child.ts';

answerParent(async () => {
  const world = await startWorld({ clock: systemClock, poolSize: 2 });
  return {
    env: () => world.env,
    /** Platform tokens, each with a `jti` of its own. */
    tokens: (count: number) => Promise.all(Array.from({ length: count }, () => world.subjectToken())),
    stop: () => world.close(),
  };
});
