/** IAM serviceAccounts: read, disable, enable (roles/iam.serviceAccountAdmin on the pool's accounts). */
import type { ObservedClock } from '../answer-date.ts';
import { ProviderError } from '../contract.ts';
import { asCaller, type Caller } from './caller.ts';
import { callGoogle } from './http.ts';

export interface ServiceAccounts {
  isDisabled(email: string, signal: AbortSignal): Promise<boolean>;
  setDisabled(email: string, disabled: boolean, signal: AbortSignal): Promise<void>;
  /** Which of these the broker has on the account. Needs no permission itself. */
  permissionsOn(email: string, wanted: readonly string[], signal: AbortSignal): Promise<string[]>;
}

export function serviceAccounts(endpoint: string, caller: Caller, clock: ObservedClock): ServiceAccounts {
  const call = (
    method: 'GET' | 'POST',
    email: string,
    verb: '' | ':disable' | ':enable' | ':testIamPermissions',
    signal: AbortSignal,
    body: object = {},
  ) =>
    asCaller(caller, signal, (token) =>
      callGoogle({
        step: { doing: `${doing[verb]} ${email}`, mints: false },
        url: `${endpoint}/v1/${resourceName(email)}${verb}`,
        method,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        ...(method === 'POST' ? { body: JSON.stringify(body) } : {}),
        signal,
        clock,
      }),
    );
  return {
    // proto3 JSON leaves a false field out.
    isDisabled: async (email, signal) => {
      const found = await call('GET', email, '', signal);
      if (found.email !== email)
        throw new ProviderError('upstream_mismatch', `Google answered about another account than ${email}.`, {
          retryable: true,
        });
      return found.disabled === true;
    },
    setDisabled: async (email, disabled, signal) => {
      await call('POST', email, disabled ? ':disable' : ':enable', signal);
    },
    permissionsOn: async (email, permissions, signal) => {
      const answer = await call('POST', email, ':testIamPermissions', signal, { permissions });
      return Array.isArray(answer.permissions) ? answer.permissions.map(String) : [];
    },
  };
}

const doing = {
  '': 'reading',
  ':disable': 'disabling',
  ':enable': 'enabling',
  ':testIamPermissions': 'asking for the permissions on',
};

/**
 * The project by name where the e-mail tells it: with the wildcard `-` Google answers 403 instead of 404 for
 * what does not exist. Of the project `example.com:reports` the e-mail has `reports.example.com`.
 */
export function resourceName(email: string): string {
  const [, name, domain] = /@([a-z0-9-]+)(?:\.([a-z0-9.-]+))?\.iam\.gserviceaccount\.com$/.exec(email) ?? [];
  const project = name === undefined ? '-' : domain === undefined ? name : `${domain}:${name}`;
  return `projects/${encodeURIComponent(project)}/serviceAccounts/${encodeURIComponent(email)}`;
}
