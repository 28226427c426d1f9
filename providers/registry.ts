/** Which providers there are. To add one: its folder, and its line here. Only `broker/compose/` (and what people run beside it) imports this. */
import { aws } from './aws/index.ts';
import type { ProviderModule } from './contract.ts';
import { gcp } from './gcp/index.ts';
import { github } from './github/index.ts';

export const providerModules: readonly ProviderModule[] = [aws, github, gcp] as readonly unknown[] as ProviderModule[];
