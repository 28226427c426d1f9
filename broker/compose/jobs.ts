/**
 * Which jobs a worker runs, in their order. The one place that knows what approvals and people contribute.
 */
import { expireUndecided } from '../../approvals/review.ts';
import { forgetRequestKeys } from '../grants/access-request-keys.ts';
import { forgetLogins } from '../people/forget-logins.ts';
import { forgetReplays } from '../sessions/forget-replays.ts';
import { forgetSignals } from '../signals/receive.ts';
import type { Job } from '../worker/job.ts';
import { carryOutLocks } from '../worker/jobs/carry-out-locks.ts';
import { carryOutSignals } from '../worker/jobs/carry-out-signals.ts';
import { closeUnreportedCalls } from '../worker/jobs/close-unreported-calls.ts';
import { endOverdueSessions } from '../worker/jobs/end-overdue-sessions.ts';
import { expireDueLeases } from '../worker/jobs/expire-due-leases.ts';
import { expireLeases } from '../worker/jobs/expire-leases.ts';
import { expireUndecidedGrants } from '../worker/jobs/expire-undecided-grants.ts';
import { forgetExpired } from '../worker/jobs/forget-expired.ts';
import { gauges } from '../worker/jobs/gauges.ts';
import { holdBack } from '../worker/jobs/hold-back.ts';
import { prune } from '../worker/jobs/prune.ts';
import { pruneCells } from '../worker/jobs/prune-cells.ts';
import { recheckHeldGrants } from '../worker/jobs/recheck-held.ts';
import { releaseEndedSessions } from '../worker/jobs/release-ended-sessions.ts';
import { releasePool } from '../worker/jobs/release-pool.ts';
import { revoke } from '../worker/jobs/revoke.ts';

export const jobs: readonly Job[] = [
  carryOutSignals,
  carryOutLocks,
  endOverdueSessions,
  releaseEndedSessions,
  holdBack,
  closeUnreportedCalls,
  expireUndecidedGrants(expireUndecided),
  recheckHeldGrants,
  expireDueLeases,
  expireLeases,
  revoke,
  releasePool,
  prune,
  gauges,
  pruneCells,
  forgetExpired([forgetReplays, forgetLogins, forgetRequestKeys, forgetSignals]),
];
