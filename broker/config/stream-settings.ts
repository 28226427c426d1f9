/**
 * The variables of one event stream. Its name stands in theirs: `WRIT_STREAM_SIEM_AUDIENCE` is of the stream
 * `siem`. The schema says NAME, for the reference page.
 */
import { z } from 'zod';
import { type EventStream, type StreamEvent, streamEventNames } from '../core/event-stream.ts';
import { isLoopback } from '../core/loopback.ts';

const longestName = 30;
/** No underscore: where a name ends in a variable’s is then plain. */
export const isStreamName = (name: string): boolean => /^[a-z][a-z0-9]*$/.test(name) && name.length <= longestName;

const secret = z.string().min(16, 'must have at least 16 characters');

export const streamVariables = z.object({
  WRIT_STREAM_NAME_AUDIENCE: z.string().min(1).max(512).describe('`aud` of its tokens: how the receiver calls itself.'),
  WRIT_STREAM_NAME_EVENTS: z
    .string()
    .transform((text) => text.split(',').map((item) => item.trim()))
    .pipe(z.array(z.enum(streamEventNames, `each must be one of ${streamEventNames.join(', ')}`)))
    .default([...streamEventNames])
    .describe(
      'What is signalled, separated by commas: `session-revoked`, `risk-level-change`, `account-disabled`, `account-enabled`.',
    ),
  WRIT_STREAM_NAME_ALGORITHM: z
    .enum(['RS256', 'ES256'])
    .default('RS256')
    .describe('What its tokens are signed with; RS256 is what the CAEP Interoperability Profile asks for.'),
  WRIT_STREAM_NAME_PUSH_URL: z
    .url({ protocol: /^https?$/ })
    .refine((url) => url.startsWith('https:') || isLoopback(url), 'must be https (http on loopback alone)')
    .refine((url) => new URL(url).username === '' && new URL(url).password === '', 'must hold no user and password')
    .optional()
    .describe('Where its events are pushed (RFC 8935). Without it the receiver polls. No redirect is followed.'),
  WRIT_STREAM_NAME_PUSH_TOKEN: z
    .string()
    .min(1)
    .regex(/^[\x21-\x7e]+$/, 'must be visible ASCII characters')
    .optional()
    .describe('Bearer token that is sent with each.'),
  WRIT_STREAM_NAME_PUSH_ALLOW_PRIVATE: z
    .enum(['0', '1', 'false', 'true'])
    .transform((value) => value === '1' || value === 'true')
    .default(false)
    .describe('Whether the name may lead to a private address (10.0.0.0/8, fc00::/7 and the like).'),
  WRIT_STREAM_NAME_TOKEN: secret
    .optional()
    .describe(
      'Bearer token with which the receiver polls (RFC 8936) and asks for a verification event. Required where nothing is pushed; for each stream another.',
    ),
});

const prefix = 'WRIT_STREAM_';
const suffixes = Object.keys(streamVariables.shape).map((name) => name.slice(`${prefix}NAME_`.length));

/**
 * @param names as `WRIT_STREAMS` lists them
 * @param set every variable that is set
 */
export function readStreams(
  names: readonly string[],
  set: { readonly [name: string]: string | undefined },
): { streams: EventStream[]; faults: string[] } {
  const streams: EventStream[] = [];
  const faults: string[] = [];
  for (const name of names) {
    const own = `${prefix}${name.toUpperCase()}_`;
    const given = suffixes.flatMap((suffix) => {
      const value = set[own + suffix];
      return value === undefined ? [] : [[`${prefix}NAME_${suffix}`, value]];
    });
    const parsed = streamVariables.safeParse(Object.fromEntries(given));
    if (!parsed.success) {
      for (const { path, code, message } of parsed.error.issues) {
        const suffix = String(path[0]).slice(`${prefix}NAME_`.length);
        const missing = code === 'invalid_type' && !(own + suffix in set);
        faults.push(`${own}${suffix}: ${missing ? 'is missing' : message}`);
      }
      continue;
    }
    const {
      WRIT_STREAM_NAME_AUDIENCE: audience,
      WRIT_STREAM_NAME_EVENTS: events,
      WRIT_STREAM_NAME_ALGORITHM: algorithm,
      WRIT_STREAM_NAME_PUSH_URL: url,
      WRIT_STREAM_NAME_PUSH_TOKEN: pushToken,
      WRIT_STREAM_NAME_PUSH_ALLOW_PRIVATE: anywhere,
      WRIT_STREAM_NAME_TOKEN: token,
    } = parsed.data;
    if (url === undefined && token === undefined)
      faults.push(`${own}PUSH_URL: is missing, and so is ${own}TOKEN: nobody could have its events`);
    if (url === undefined && pushToken !== undefined)
      faults.push(`${own}PUSH_URL: is missing, without which ${own}PUSH_TOKEN says nothing`);
    if (audience === set.WRIT_ISSUER_URL) faults.push(`${own}AUDIENCE: must not be the broker itself`);
    streams.push({
      name,
      audience,
      events: [...new Set<StreamEvent>(events)],
      algorithm,
      push: url === undefined ? null : { url, token: pushToken ?? null, anywhere },
      token: token ?? null,
    });
  }
  for (const name of Object.keys(set).filter((name) => name.startsWith(prefix))) {
    const known = names.some((stream) => suffixes.some((end) => name === `${prefix}${stream.toUpperCase()}_${end}`));
    if (!known) faults.push(`${name}: is of no stream that WRIT_STREAMS lists, or no variable of one`);
  }
  // With one token for two, nobody could tell who asks.
  const tokens = streams.flatMap(({ token }) => token ?? []);
  if (new Set(tokens).size < tokens.length) faults.push('WRIT_STREAMS: two streams have the same token');
  return { streams, faults };
}
