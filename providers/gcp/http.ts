/**
 * One HTTP call to Google: JSON back, or a ProviderError. No retries, no redirects, and nothing of the call
 * in the error.
 */
import { askDate, type ObservedClock } from '../answer-date.ts';
import { connectionFailure, gaveUp, httpFailure, type Step, unreadable } from './errors.ts';

export interface HttpCall {
  step: Step;
  url: string;
  method: 'GET' | 'POST';
  headers?: { [name: string]: string };
  body?: string | URLSearchParams;
  signal: AbortSignal;
  /** Google's clock: learns from the answer's date. */
  clock: ObservedClock;
}

/** @throws ProviderError */
export async function callGoogle({
  step,
  url,
  method,
  headers,
  body,
  signal,
  clock,
}: HttpCall): Promise<{ [key: string]: unknown }> {
  if (signal.aborted) throw gaveUp({ ...step, mints: false });
  let status: number;
  let text: string;
  let retryAfter: string | null;
  const sentAt = clock.ours();
  try {
    const request = { method, redirect: 'error' as const, signal };
    const response = await fetch(url, { ...request, ...(headers ? { headers } : {}), ...(body ? { body } : {}) });
    status = response.status;
    clock.observe(response.headers.get('date'), sentAt, response.headers.get('age'));
    retryAfter = response.headers.get('retry-after');
    text = await response.text();
  } catch (error) {
    if (signal.aborted) throw gaveUp(step);
    throw connectionFailure(step, (error as { cause?: { code?: string } }).cause);
  }
  const answer = parse(text);
  if (status < 200 || status > 299) throw httpFailure(step, status, answer, retryAfter, clock.now());
  if (answer === null) throw unreadable(step);
  return answer;
}

function parse(text: string): { [key: string]: unknown } | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as { [key: string]: unknown })
      : null;
  } catch {
    return null;
  }
}

/** @throws ProviderError */
export const askTime = (url: string, clock: ObservedClock, signal: AbortSignal): Promise<void> =>
  askDate(url, clock, signal).catch((error: { cause?: { code?: string } }) => {
    const step = { doing: 'asking for the time', mints: false };
    throw signal.aborted ? gaveUp(step) : connectionFailure(step, error.cause);
  });
