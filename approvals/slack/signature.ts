/**
 * Whether Slack sent a request: https://docs.slack.dev/authentication/verifying-requests-from-slack. The time
 * is held to both sides, which Slack's own library does not.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

/** How far Slack's clock may be from ours, in seconds. */
export const signatureWindowSeconds = 300;

export interface SignedRequest {
  /** `X-Slack-Request-Timestamp`. */
  timestamp: string | undefined;
  /** `X-Slack-Signature`. */
  signature: string | undefined;
  /** As it arrived. */
  body: Buffer;
}

export function isFromSlack(secret: string, { timestamp, signature, body }: SignedRequest, now: Date): boolean {
  if (timestamp === undefined || !/^\d{1,12}$/.test(timestamp) || signature === undefined) return false;
  if (Math.abs(now.getTime() / 1000 - Number(timestamp)) > signatureWindowSeconds) return false;
  const mac = createHmac('sha256', secret).update(`v0:${timestamp}:`).update(body).digest('hex');
  const [expected, given] = [Buffer.from(`v0=${mac}`), Buffer.from(signature)];
  return expected.length === given.length && timingSafeEqual(expected, given);
}
