/** Findings in the words that every part of a diagnosis uses. */
import { largestSkewMs } from '../core/clock-guard.ts';
import type { Finding } from '../core/vocabulary.ts';

/** @param fault what is found instead; null = it holds */
export const findingOf = (what: string, fault: string | null, fix: string): Finding =>
  fault === null ? { what, state: 'holds' } : { what, state: 'fails', found: fault, fix };

/** @param skewMs ours minus theirs */
export function skewFinding(whose: string, skewMs: number): Finding {
  const seconds = (Math.abs(skewMs) / 1000).toFixed(1);
  return findingOf(
    `this machine’s clock agrees with that of ${whose}`,
    Math.abs(skewMs) < largestSkewMs ? null : `it is ${seconds} s ${skewMs > 0 ? 'ahead' : 'behind'}`,
    'Have NTP set this machine’s clock (chrony, systemd-timesyncd), and look at the other one’s.',
  );
}
