/**
 * Faults that a test or a demo switches on: each part of the counterpart can hang, be unavailable, or refuse.
 */
import { GoogleError, StsError } from './errors.ts';

export type FaultKind =
  | 'hang'
  | 'unavailable'
  /** With the waiting time in a header and in the error's details. */
  | 'throttled'
  | 'refused'
  /** STS could not reach the issuer of the token just now. */
  | 'issuer-unreachable';

/** What `throttled` asks the caller to wait. */
export const throttledSeconds = 7;

/** mint: generateAccessToken; exchange: STS; admin: IAM serviceAccounts; storage: Cloud Storage. */
export type Endpoint = 'mint' | 'exchange' | 'admin' | 'storage';

export interface Faults {
  /** From now on, or so many times; null = normally. */
  set(endpoint: Endpoint, kind: FaultKind | null, times?: number): void;
  /** Throws the fault that is on; returns true when the request has to be left hanging. */
  strike(endpoint: Endpoint): boolean;
}

export function faults(): Faults {
  const active = new Map<Endpoint, { kind: FaultKind; left: number }>();
  return {
    set: (endpoint, kind, times = Number.POSITIVE_INFINITY) => {
      if (kind === null) active.delete(endpoint);
      else active.set(endpoint, { kind, left: times });
    },
    strike: (endpoint) => {
      const planned = active.get(endpoint);
      if (planned === undefined || planned.left <= 0) return false;
      planned.left -= 1;
      switch (planned.kind) {
        case 'unavailable':
          throw new GoogleError('UNAVAILABLE', 'The service is currently unavailable.');
        case 'throttled':
          throw new GoogleError('RESOURCE_EXHAUSTED', 'Quota exceeded.', throttledSeconds);
        case 'issuer-unreachable':
          throw new StsError('invalid_grant', "Error connecting to the given credential's issuer.");
        case 'refused':
          throw new GoogleError('PERMISSION_DENIED', 'The caller does not have permission');
        case 'hang':
          return true;
        default:
          return false;
      }
    },
  };
}
