/** How the sandbox misbehaves on request: GitHub's bad days, and answers a broker must not trust. */
import { type Answer, problem } from './answers.ts';

export type Fault =
  /** Takes the request and never answers. */
  | 'hang'
  /** 503. */
  | 'unavailable'
  /** 422, as for permissions the installation does not have. */
  | 'refused'
  /** 403 with retry-after and GitHub's text on secondary rate limits. */
  | 'secondary-rate'
  /** 403 with x-ratelimit-remaining 0. */
  | 'rate-limited'
  /** Does what was asked, then cuts the connection before the answer. */
  | 'lost-answer'
  /** Mints a token that may write where reading was asked, and says so. */
  | 'wider-permissions'
  /** Mints a token for every repository of the installation, and says so. */
  | 'wider-repositories'
  /** Mints what was asked but leaves permissions and repositories out of the answer. */
  | 'silent'
  /** Mints what was asked and leaves one permission out of the answer, as if it had not known it. */
  | 'leaves-one-out'
  /** Mints what was asked and says that it ended a while ago. */
  | 'ends-in-the-past'
  /** Mints what was asked and says that it lives for a week. */
  | 'ends-too-late'
  /** Gives every mint the same token. */
  | 'same-token'
  /** 401 to whatever it is, and does nothing. */
  | 'bad-credentials';

/** Which endpoint a fault is switched on for. */
export type FaultPlace = 'mint' | 'revoke' | 'lookup' | 'data';

/** The faults that are answers in themselves; the others change what the endpoint does. */
export function answerOf(fault: Fault | null, nowSeconds: number): Answer | null {
  if (fault === 'unavailable') return problem(503, 'Service Unavailable');
  if (fault === 'bad-credentials') return problem(401, 'Bad credentials');
  if (fault === 'refused') return problem(422, 'The permissions requested are not granted to this installation.');
  if (fault === 'secondary-rate')
    return problem(403, 'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.', {
      'retry-after': '60',
    });
  if (fault === 'rate-limited')
    return problem(403, 'API rate limit exceeded for installation.', {
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': String(nowSeconds + 3600),
    });
  return null;
}
