/** Until when people may decide: as the manifest says, else as is set here, and never beyond the session. */
import type { Manifest } from '../manifests/manifest.ts';

export interface WaitDeps {
  /** How long a request waits of which its manifest says nothing. */
  approvalTimeoutSeconds: number;
  /** The same where a passkey must sign; absent = as long as the others. */
  passkeyTimeoutSeconds?: number;
  /** How long after its opening a session may still sleep, at most; absent or 0 = none may. */
  maxSleepSeconds?: number;
}

/** @param asked what the manifest says of it, and whether a passkey must sign */
export function timeToDecide(
  deps: WaitDeps,
  manifest: Manifest,
  asked: { expiresSeconds: number | null; passkey: boolean },
  session: { openedAt: Date; expiresAt: Date; parentId: string | null },
  now: Date,
): Date {
  const standard = asked.passkey ? deps.passkeyTimeoutSeconds : undefined;
  const seconds = asked.expiresSeconds ?? standard ?? deps.approvalTimeoutSeconds;
  const sleeps = session.parentId === null ? Math.min(manifest.envelope.sleep ?? 0, deps.maxSleepSeconds ?? 0) : 0;
  const bound = Math.max(session.expiresAt.getTime(), session.openedAt.getTime() + sleeps * 1000);
  return new Date(Math.min(now.getTime() + seconds * 1000, bound));
}
