/**
 * GitHub's hourly budgets: one for each installation, shared by all its tokens, and one for the App's own
 * JWTs.
 */
import type { Clock } from '../../broker/core/vocabulary.ts';

export interface RateLimit {
  /** Takes one request from the budget; true when it was already spent. */
  spend(key: string): boolean;
  headers(key: string): Record<string, string>;
}

/** `limit` absent: the headers are sent, nothing is refused (load tests need more than GitHub gives). */
export function hourlyBudgets(clock: Clock, limit: number | undefined): RateLimit {
  const budgets = new Map<string, { used: number; resetsAt: number }>();
  const budgetOf = (key: string) => {
    const now = Math.floor(clock.now().getTime() / 1000);
    const known = budgets.get(key);
    if (known !== undefined && known.resetsAt > now) return known;
    const fresh = { used: 0, resetsAt: now + 3600 };
    budgets.set(key, fresh);
    return fresh;
  };
  return {
    spend(key) {
      const budget = budgetOf(key);
      budget.used += 1;
      return limit !== undefined && budget.used > limit;
    },
    headers(key) {
      const { used, resetsAt } = budgetOf(key);
      const shown = limit ?? 5000;
      // Where nothing is refused the headers must not claim that the budget is spent.
      const remaining = Math.max(limit === undefined ? 1 : 0, shown - used);
      return {
        'x-ratelimit-limit': String(shown),
        'x-ratelimit-remaining': String(remaining),
        'x-ratelimit-used': String(used),
        'x-ratelimit-reset': String(resetsAt),
        'x-ratelimit-resource': 'core',
      };
    },
  };
}
