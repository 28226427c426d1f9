/** What answers until the application is there. */
import type { RequestListener } from 'node:http';
import { WritError } from '../core/errors.ts';
import { newRequestId } from '../core/ids.ts';
import { problemOf, refusalText } from './problem.ts';

/** Refuses everything, health too, in the form of all refusals. Logs nothing: probes ask often meanwhile. */
export function stillStarting(publicUrl: string): RequestListener {
  const error = new WritError('unavailable', { detail: 'The broker is starting.', retryAfterSeconds: 1 });
  return (req, res) => {
    const oauth = req.url?.startsWith('/oauth/') === true;
    const problem = problemOf(error, publicUrl, newRequestId());
    res.statusCode = problem.status;
    res.setHeader('Cache-Control', 'no-store');
    res.setHeader('Content-Type', oauth ? 'application/json' : 'application/problem+json');
    res.setHeader('Retry-After', String(error.retryAfterSeconds));
    res.setHeader('X-Request-Id', problem.request_id);
    res.end(refusalText(error, problem, oauth));
  };
}
