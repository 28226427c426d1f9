/**
 * One notice as one POST, signed by Standard Webhooks 1.0: the receiver checks `webhook-signature` over id,
 * time and body, and takes each `webhook-id` once.
 */
import { createHmac } from 'node:crypto';
import { PrivateAddress } from '../../broker/core/global-address.ts';
import { post } from '../../broker/core/post.ts';
import { type AgentText, DeliveryError, type Digest, type Incident, type Message, type Notice } from '../contract.ts';

export interface WebhookTarget {
  WRIT_WEBHOOK_URL: string;
  WRIT_WEBHOOK_SECRET: Buffer;
  WRIT_WEBHOOK_ALLOW_PRIVATE: boolean;
}

/** @throws DeliveryError */
export async function postNotice(
  target: WebhookTarget,
  notice: Message,
  now: Date,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const body = JSON.stringify(bodyOf(notice));
  const timestamp = String(Math.floor(now.getTime() / 1000));
  const headers = {
    'content-type': 'application/json',
    'webhook-id': notice.id,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatureOf(target.WRIT_WEBHOOK_SECRET, notice.id, timestamp, body),
  };
  const { WRIT_WEBHOOK_URL: address, WRIT_WEBHOOK_ALLOW_PRIVATE: anywhere } = target;
  const answer = await post(address, headers, body, { anywhere, signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    if (error instanceof PrivateAddress) throw new DeliveryError('refused', error.message);
    throw new DeliveryError('unavailable', 'the webhook’s server did not answer');
  });
  if (answer.status >= 200 && answer.status < 300) return;
  const passing = answer.status >= 500 || [408, 425, 429].includes(answer.status);
  throw new DeliveryError(
    passing ? 'unavailable' : 'refused',
    `the webhook’s server answered ${answer.status}`,
    answer.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: answer.retryAfterSeconds },
  );
}

/** `v1` of Standard Webhooks. */
export function signatureOf(secret: Buffer, id: string, timestamp: string, body: string): string {
  return `v1,${createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}

function bodyOf(message: Message): object {
  if (message.kind === 'incident') return incidentOf(message);
  return message.kind === 'digest' ? digestOf(message) : messageOf(message);
}

/** What the receiver reads. Names and kinds are the interface: add, never change. */
function messageOf(notice: Notice): object {
  const words = ({ text, left }: AgentText) => ({ written_by: 'agent', text, left });
  const { outcome } = notice;
  return {
    type: `approval.${notice.kind}`,
    timestamp: (outcome?.at ?? notice.requestedAt).toISOString(),
    data: {
      grant_id: notice.grantId,
      url: notice.url,
      agent: notice.agent,
      capability: notice.capability,
      task_type: notice.taskType,
      approvers: notice.approvers,
      summary: notice.summary,
      revocability: notice.revocability,
      ttl_seconds: notice.ttlSeconds,
      plan_digest: notice.planDigest,
      requested_at: notice.requestedAt.toISOString(),
      decide_by: outcome === null ? notice.decideBy.toISOString() : null,
      justification: notice.justification === null ? null : words(notice.justification),
      inputs: notice.inputs.map(({ name, value }) => ({ name, value: words(value) })),
      outcome: outcome === null ? null : { ...outcome, at: outcome.at.toISOString() },
    },
  };
}

function incidentOf({ sessionId, url, agent, what, consequence, recipients, at }: Incident): object {
  return {
    type: 'session.incident',
    timestamp: at.toISOString(),
    data: { session_id: sessionId, url, agent, what, consequence, recipients },
  };
}

function digestOf({ owner, url, from, until, totals, lines, people, hasty }: Digest): object {
  const data = { owner, url, from: from.toISOString(), until: until.toISOString(), totals, lines, people, hasty };
  return { type: 'approval.digest', timestamp: until.toISOString(), data };
}
