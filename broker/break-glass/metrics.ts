/** What operators watch. `writ_break_glass_reviews_overdue` above zero is an alarm. */
import { Gauge, type Registry } from 'prom-client';

export type BreakGlassMetrics = ReturnType<typeof createBreakGlassMetrics>;

export function createBreakGlassMetrics(registry: Registry) {
  const registers = [registry];
  return {
    open: new Gauge({ name: 'writ_break_glass_open', help: 'Break-glasses that are open now.', registers }),
    unreviewed: new Gauge({
      name: 'writ_break_glass_unreviewed',
      help: 'Break-glasses that are over and not reviewed.',
      registers,
    }),
    overdue: new Gauge({
      name: 'writ_break_glass_reviews_overdue',
      help: 'Break-glasses that were not reviewed in time.',
      registers,
    }),
  };
}
