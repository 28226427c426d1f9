/**
 * How many denials a role's own policy holds. All inline policies of a role share their characters, so that
 * the others are measured, and measured again after a while: an admin may change them.
 */
import type { ProviderDeps } from '../contract.ts';
import type { AwsClients } from './clients.ts';
import { charactersPerName, charactersWithoutNames } from './denial.ts';
import { toProviderError } from './errors.ts';
import { charactersOfOthers, inlinePolicyLimit } from './role-policy.ts';
import { type AwsSettings, canRevoke } from './settings.ts';

/** How long a measurement is believed, in ms. */
const freshMs = 300_000;

/** Characters of a lease's id, by which it is denied (broker/core/ids.ts). */
const leaseIdLength = 24;

export interface RoleRooms {
  /**
   * Denials that fit beside a role's other policies; null where none is ever written. While IAM does not
   * answer, what was measured last. @throws ProviderError when nothing was
   */
  denialsThatFit(role: string): Promise<number | null>;
}

export function roleRooms(settings: AwsSettings, deps: ProviderDeps, clients: AwsClients): RoleRooms {
  const known = new Map<string, { denials: number; at: number }>();
  const asking = new Map<string, Promise<number>>();

  // Its own deadline: whoever asked first may give up while others wait for the same answer.
  const measure = async (role: string): Promise<number> => {
    const signal = AbortSignal.timeout(settings.WRIT_AWS_TIMEOUT_SECONDS * 1000);
    try {
      const others = await clients.iam(signal, (iam) => charactersOfOthers(iam, role, signal));
      const room = inlinePolicyLimit - others - charactersWithoutNames;
      const denials = Math.max(0, Math.floor(room / charactersPerName(leaseIdLength)));
      known.set(role, { denials, at: deps.clock.now().getTime() });
      return denials;
    } catch (error) {
      throw toProviderError(error, 'iam:ListRolePolicies', signal);
    } finally {
      asking.delete(role);
    }
  };

  return {
    denialsThatFit: async (role) => {
      if (!canRevoke(settings)) return null;
      const last = known.get(role);
      if (last !== undefined && Math.abs(deps.clock.now().getTime() - last.at) < freshMs) return last.denials;
      const answer = asking.get(role) ?? measure(role);
      asking.set(role, answer);
      return last === undefined ? answer : answer.catch(() => last.denials);
    },
  };
}
