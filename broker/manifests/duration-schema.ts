/** Durations as a manifest writes them (`90s`, `15m`, `2h`), read as whole seconds. */
import { z } from 'zod';

/** Seven days: longer runs and credentials are standing permissions by another name. */
const longestSeconds = 7 * 24 * 3600;
const secondsPerUnit: Record<string, number> = { s: 1, m: 60, h: 3600 };

export const duration = z
  .string('must be a duration such as 90s, 15m or 2h')
  .regex(/^[1-9][0-9]{0,5}[smh]$/, 'must be a duration such as 90s, 15m or 2h')
  .transform((text) => Number(text.slice(0, -1)) * (secondsPerUnit[text.slice(-1)] ?? Number.NaN))
  .refine((seconds) => seconds <= longestSeconds, 'must be seven days or less');
