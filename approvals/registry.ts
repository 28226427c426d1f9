/**
 * Which channels there are. To add one: its folder, and its line here. Only `broker/compose/` (and what
 * people run beside it) imports this.
 */
import type { ChannelModule } from './contract.ts';
import { email } from './email/index.ts';
import { slack } from './slack/index.ts';
import { web } from './web/index.ts';
import { webhook } from './webhook/index.ts';

export const channelModules: readonly ChannelModule[] = [
  web,
  slack,
  email,
  webhook,
] as readonly unknown[] as ChannelModule[];
