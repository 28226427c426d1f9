/**
 * Which providers there are. To add one: its folder, its line here, and its parameters' line in params.ts
 * (the compiler refuses one without the other). Only `broker/compose/` (and what people run beside it)
 * imports this.
 */
import { aws } from './aws/index.ts';
import type { ProviderModule } from './contract.ts';
import { gcp } from './gcp/index.ts';
import { github } from './github/index.ts';
import type { providerParams } from './params.ts';
import { postgres } from './postgres/index.ts';

const modules = { aws, github, gcp, postgres } satisfies Record<keyof typeof providerParams, { name: string }>;

export const providerModules: readonly ProviderModule[] = Object.values<unknown>(modules) as ProviderModule[];
