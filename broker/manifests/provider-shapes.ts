/** What the check of a manifest knows of providers: data, so that manifests stay free of them. */
import type { z } from 'zod';

/** The providers that are switched on, by name. */
export type ProviderShapes = {
  readonly [provider: string]: {
    /** The shape of their parameters. */
    readonly params: z.ZodType;
    /** Whether the state of what a plan is about can be read; absent = nobody knows. */
    readonly readsState?: boolean;
    /** What an admin should know of parameters that are taken; absent = nothing. */
    readonly advise?: (params: unknown) => readonly Advice[];
    /**
     * What keeps a plan from being made of parameters that have the shape (no credential is); null = nothing
     * does. Absent = nobody knows.
     */
    readonly planFault?: (params: unknown, ttlSeconds: number) => { path?: string; message: string } | null;
    /** The lifetimes there are, with these parameters or with any. Absent = nobody knows. */
    readonly lifetimes?: (params?: unknown) => Lifetimes;
  };
};

/** In seconds. `untried`: the longest is the one that is always given; more may be. */
export interface Lifetimes {
  minTtlSeconds: number;
  maxTtlSeconds: number;
  untried?: true;
}

/** As in the providers' contract. */
interface Advice {
  path: readonly (string | number)[];
  message: string;
  near?: { written: string; known: readonly string[] };
}
