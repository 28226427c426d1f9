/** Grants for Octokit. */
import { WritError } from './errors.ts';
import type { Grant } from './grant.ts';

/**
 * Options for `new Octokit(…)`: the token, and the API it is for (github.com or an Enterprise Server).
 *
 * @throws WritError `wrong_credential`
 * @example
 * const octokit = new Octokit({ ...octokitOptions(grant), userAgent: 'invoice-bot' });
 */
export function octokitOptions({ credential, id }: Grant): { auth: string; baseUrl: string } {
  if (credential.type === 'github') return { auth: credential.token, baseUrl: credential.apiUrl };
  throw new WritError('wrong_credential', `The grant is for ${credential.type}, not for GitHub`, { grantId: id });
}

/**
 * An `authStrategy`: a grant's token, or at each request one with life left in it.
 *
 * @param source a grant, or `renewing(session, capability, params, { type: 'github' })`
 * @example
 * const source = renewing(session, 'read-repository', {}, { type: 'github' });
 * const octokit = new Octokit({ authStrategy: octokitAuth(source) });
 */
export function octokitAuth(source: Grant | (() => Promise<Grant>)): () => OctokitAuth {
  const current = typeof source === 'function' ? source : async () => source;
  return () => {
    const auth = async () => {
      const { auth: token } = octokitOptions(await current());
      return { type: 'token' as const, tokenType: 'installation' as const, token };
    };
    const hook: OctokitAuth['hook'] = async (request, route, parameters) => {
      const { auth: token, baseUrl } = octokitOptions(await current());
      const endpoint = request.endpoint.merge(route, parameters);
      endpoint.baseUrl = baseUrl;
      endpoint.headers.authorization = `token ${token}`;
      return request(endpoint);
    };
    return Object.assign(auth, { hook });
  };
}

/** The part of Octokit's interface for authentication strategies that it calls. */
export interface OctokitAuth {
  (): Promise<{ type: 'token'; tokenType: 'installation'; token: string }>;
  // biome-ignore lint/suspicious/noExplicitAny: Octokit's own types, which this package does not depend on
  hook(request: any, route: any, parameters?: any): Promise<any>;
}
