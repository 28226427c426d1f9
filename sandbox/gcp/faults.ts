/**
 * Faults that a test or a demo switches on: each part of the counterpart can hang, be unavailable, or refuse.
 */
import { GoogleError } from './errors.ts';

export type FaultKind = 'hang' | 'unavailable' | 'throttled' | 'refused';

/** mint: generateAccessToken; exchange: STS; admin: IAM serviceAccounts; storage: Cloud Storage. */
export type Endpoint = 'mint' | 'exchange' | 'admin' | 'storage';

export interface Faults {
  /** From now on; null = normally. */
  set(endpoint: Endpoint, kind: FaultKind | null): void;
  /** Throws the fault that is on; returns true when the request has to be left hanging. */
  strike(endpoint: Endpoint): boolean;
}

export function faults(): Faults {
  const active = new Map<Endpoint, FaultKind>();
  return {
    set: (endpoint, kind) => {
      if (kind === null) active.delete(endpoint);
      else active.set(endpoint, kind);
    },
    strike: (endpoint) => {
      switch (active.get(endpoint)) {
        case 'unavailable':
          throw new GoogleError('UNAVAILABLE', 'The service is currently unavailable.');
        case 'throttled':
          throw new GoogleError('RESOURCE_EXHAUSTED', 'Quota exceeded.');
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
