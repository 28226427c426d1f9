/** Callbacks of access requests: where they may go, and what tells them. */
import { type CallbackRules, callbacks } from '../../approvals/callbacks.ts';
import type { Channel } from '../../approvals/contract.ts';
import type { Settings } from '../config/settings.ts';
import { readTaskStatus } from '../grants/task.ts';
import { accessRequestsPath } from '../http/authzen-answers.ts';
import type { Parts } from './parts.ts';

export const callbackRules = (settings: Settings): CallbackRules => ({
  origins: settings.WRIT_ACCESS_REQUEST_CALLBACKS,
  anywhere: settings.WRIT_ACCESS_REQUEST_CALLBACKS_ALLOW_PRIVATE,
});

/** None where no callback may go anywhere. */
export function callbackChannels(parts: Parts): Channel[] {
  const { settings, store, url } = parts;
  const rules = callbackRules(settings);
  if (rules.origins.length === 0) return [];
  return [
    callbacks({
      ...parts,
      rules,
      issuer: url,
      readStatus: (grantId) => readTaskStatus(store, grantId),
      statusEndpoint: (grantId) => `${url}${accessRequestsPath}/${grantId}`,
    }),
  ];
}
