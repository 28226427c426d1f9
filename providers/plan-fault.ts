/** Whether a provider makes a plan of parameters, told as a fault. */
import { type Plan, ProviderError } from './contract.ts';

export interface PlanFault {
  /** Which parameter, keys and indexes joined by dots; absent: all of them together. */
  path?: string;
  message: string;
}

/** @returns null when there is a plan, or nobody can tell without the settings */
export function planFault(make: () => Plan | null): PlanFault | null {
  try {
    make();
    return null;
  } catch (error) {
    if (!(error instanceof ProviderError) || error.code !== 'bad_params') throw error;
    return { message: error.message, ...(error.path === undefined ? {} : { path: error.path }) };
  }
}
