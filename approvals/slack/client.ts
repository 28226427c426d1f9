/** Slack's Web API: each call sent once and ended by its signal, and failures as the outbox knows them. */
import { LogLevel, WebAPIHTTPError, WebAPIPlatformError, WebAPIRateLimitedError, WebClient } from '@slack/web-api';
import { DeliveryError } from '../contract.ts';

export interface SlackAccess {
  SLACK_BOT_TOKEN: string;
  SLACK_API_URL: string;
}

/** The library's log would quote what it sends and gets. */
export const silent = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  setLevel: () => {},
  getLevel: () => LogLevel.ERROR,
  setName: () => {},
};

export function slackClient({ SLACK_BOT_TOKEN, SLACK_API_URL }: SlackAccess, signal: AbortSignal): WebClient {
  return new WebClient(SLACK_BOT_TOKEN, {
    slackApiUrl: SLACK_API_URL,
    allowAbsoluteUrls: false,
    logger: silent,
    // The outbox tries again: it remembers over crashes, and knows which message it was.
    retryConfig: { retries: 0 },
    rejectRateLimitedCalls: true,
    fetch: (url, init) =>
      fetch(url, {
        ...init,
        // A token follows no redirect.
        redirect: 'error',
        signal: init?.signal === undefined ? signal : AbortSignal.any([init.signal, signal]),
      } as RequestInit),
  });
}

/** Slack's own troubles; anything else that it names stands until somebody changes something. */
const passing = new Set([
  'internal_error',
  'fatal_error',
  'service_unavailable',
  'request_timeout',
  'ratelimited',
  'rate_limited',
  'team_added_to_org',
]);

/** Whether Slack said no with this error. */
export const isRefusal = (error: unknown, name: string): boolean =>
  error instanceof WebAPIPlatformError && error.data.error === name;

export function deliveryError(error: unknown): DeliveryError {
  if (error instanceof DeliveryError) return error;
  if (error instanceof WebAPIRateLimitedError)
    return new DeliveryError('unavailable', 'Slack asks to wait', { retryAfterSeconds: error.retryAfter });
  if (error instanceof WebAPIPlatformError) {
    const name = String(error.data.error);
    return new DeliveryError(passing.has(name) ? 'unavailable' : 'refused', `Slack answered ${name.slice(0, 64)}`);
  }
  if (error instanceof WebAPIHTTPError && error.statusCode < 500 && error.statusCode !== 429)
    return new DeliveryError('refused', `Slack answered HTTP ${error.statusCode}`);
  return new DeliveryError('unavailable', 'Slack did not answer');
}
