/**
 * One HTTP call to Google: JSON back, or a ProviderError. No retries, no redirects, and nothing of the call
 * in the error.
 */
import { connectionFailure, gaveUp, httpFailure, type Step, unreadable } from './errors.ts';

export interface HttpCall {
  step: Step;
  url: string;
  method: 'GET' | 'POST';
  headers?: { [name: string]: string };
  body?: string | URLSearchParams;
  signal: AbortSignal;
}

/** @throws ProviderError */
export async function callGoogle({
  step,
  url,
  method,
  headers,
  body,
  signal,
}: HttpCall): Promise<{ [key: string]: unknown }> {
  let status: number;
  let text: string;
  try {
    const request = { method, redirect: 'error' as const, signal };
    const response = await fetch(url, { ...request, ...(headers ? { headers } : {}), ...(body ? { body } : {}) });
    status = response.status;
    text = await response.text();
  } catch (error) {
    if (signal.aborted) throw gaveUp(step);
    throw connectionFailure(step, (error as { cause?: { code?: string } }).cause?.code);
  }
  const answer = parse(text);
  if (status < 200 || status > 299) throw httpFailure(step, status, answer);
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
