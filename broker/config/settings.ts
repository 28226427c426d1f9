/**
 * Environment → frozen settings. Every fault is reported in one message, so that an operator corrects them
 * all at once. The reference page `docs/reference/configuration.md` is generated from the schema below.
 */
import { z } from 'zod';
import type { EventStream } from '../core/event-stream.ts';
import { fieldWords } from '../core/field-words.ts';
import { isKind, isOwnerName } from '../core/identifier.ts';
import { isLoopback, isLoopbackHost } from '../core/loopback.ts';
import { proxyEnvironment } from '../core/proxies.ts';
import { isStreamName, readStreams } from './stream-settings.ts';

const flag = z.enum(['0', '1', 'false', 'true']).transform((v) => v === '1' || v === 'true');
const secondsUnset = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, 'must be a whole number of seconds')
    .transform(Number)
    .pipe(z.number().min(min).max(max));
const seconds = (fallback: number, min: number, max: number) => secondsUnset(min, max).default(fallback);
const count = (fallback: number, min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,9}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(min).max(max))
    .default(fallback);
const list = z.string().transform((v) =>
  v
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== ''),
);
const aliasClaims = list.transform((items, context) =>
  items.map((item) => {
    const at = item.indexOf('=');
    const kind = (at < 0 ? item : item.slice(0, at)).trim();
    const claim = (at < 0 ? item : item.slice(at + 1)).trim();
    if (!isKind(kind) || kind === 'email' || kind === 'subject' || claim === '') {
      context.addIssue({
        code: 'custom',
        message: `${item} must be a claim, or kind=claim where the claim’s name is no kind (lower-case letters, digits, underscores; not email, subject, team, user, agent)`,
      });
    }
    // It gives a right only where the issuer verified it, and by another name it would give one in any case.
    if (claim === 'email')
      context.addIssue({
        code: 'custom',
        message: `${item}: the e-mail address is a name by itself, as far as the issuer verified it`,
      });
    return { kind, claim };
  }),
);
const ownerNames = list.refine((names) => names.every(isOwnerName), 'each must be team:GROUP or user:E-MAIL');
const httpUrl = z.url({ protocol: /^https?$/ });
const proxy = z
  .string()
  .optional()
  .refine((text) => proxyFault({ HTTP_PROXY: text }) === null, 'must be the http or https URL of a proxy');

function proxyFault(env: { [name: string]: string | undefined }): string | null {
  try {
    proxyEnvironment(env);
    return null;
  } catch (error) {
    return (error as Error).message.replace(/^NO_PROXY: /, '');
  }
}

const isCallbackOrigin = (text: string) =>
  URL.canParse(text) &&
  new URL(text).origin === text &&
  (text.startsWith('https:') || (text.startsWith('http:') && isLoopback(text)));

const schemaName = /^[a-z_][a-z0-9_]{0,62}$/;

/** What Prisma's and other tools' URLs say; the driver itself reads over it. */
function schemaOfUrl(url: string | undefined): string | null {
  return url !== undefined && URL.canParse(url) ? new URL(url).searchParams.get('schema') : null;
}

/** The broker's own variables. Providers and channels add theirs (see `SettingsModule`). */
export const environment = z.object({
  PORT: count(8420, 0, 65535).describe('Port to listen on; 0 takes a free one.'),
  WRIT_LISTEN: z
    .string()
    .default('127.0.0.1')
    .describe('Address to listen on. In a container: `0.0.0.0`. Any but loopback needs `WRIT_ISSUER_URL`.'),
  WRIT_ISSUER_URL: httpUrl
    .optional()
    .describe(
      'Public URL of the broker: issuer of its tokens, base of its links, what clouds fetch the JWKS from. Required with `DATABASE_URL` and when `WRIT_LISTEN` is not loopback; must be https unless it is loopback. Scheme, host and port alone: the broker cannot live under a path.',
    ),
  HTTPS_PROXY: proxy.describe(
    'Proxy (http or https URL; without a scheme, http) that https requests go by: to providers, identity providers, issuers, Slack. In lower case too, which comes first. Never this machine or a cloud’s metadata service; not webhooks, event receivers and on-call rotas, whose addresses are looked up here.',
  ),
  HTTP_PROXY: proxy.describe('The same for plain http.'),
  NO_PROXY: z
    .string()
    .optional()
    .refine((text) => proxyFault({ HTTP_PROXY: 'http://proxy', NO_PROXY: text }) === null, {
      error: (issue) =>
        proxyFault({ HTTP_PROXY: 'http://proxy', NO_PROXY: String(issue.input) }) ?? 'is not understood',
    })
    .describe(
      'What goes past the proxies, separated by commas: names (`example.com` is what is below it too), `name:port`, addresses, networks (`10.0.0.0/8`, for addresses of IPv4 that stand in a URL; of IPv6 they are taken and match nothing), or `*`.',
    ),
  WRIT_ROLE: z
    .enum(['all', 'api', 'worker'])
    .default('all')
    .describe('What this process does: serve (`api`), revoke and reconcile (`worker`), or both.'),
  DATABASE_URL: z
    .string()
    .regex(/^postgres(ql)?:\/\//, 'must be a postgres:// URL')
    .optional()
    .describe(
      'PostgreSQL 15 or newer. Without it the broker keeps its data in this process (PGlite) under `WRIT_DATA_DIR`.',
    ),
  WRIT_DATABASE_POOL: count(20, 1, 200).describe('Connections to PostgreSQL per process.'),
  WRIT_DATABASE_SCHEMA: z
    .string()
    .regex(schemaName)
    .default('public')
    .describe('Schema the tables live in; `?schema=` of `DATABASE_URL` says the same.'),
  REDIS_URL: z
    .string()
    .regex(/^rediss?:\/\//, 'must be a redis:// URL')
    .optional()
    .describe('Redis for prompt revocation across processes (BullMQ). Needs `maxmemory-policy noeviction`.'),
  WRIT_DATA_DIR: z
    .string()
    .default('.writ')
    .describe('Folder of the embedded database and its key file. Unused with `DATABASE_URL`.'),
  WRIT_KEY_ENCRYPTION_KEY: z
    .string()
    .regex(/^[A-Za-z0-9_-]{43}=?$|^[A-Za-z0-9+/]{43}=$/, 'must be 32 bytes in base64 or base64url')
    .optional()
    .describe(
      'Seals signing keys and what revocation needs. Required with `DATABASE_URL`; the embedded mode makes one in `WRIT_DATA_DIR`.',
    ),
  WRIT_MANIFEST_DIR: z
    .string()
    .optional()
    .describe('Folder of manifests (`*.yaml`) published at start when they differ from the version in force.'),
  WRIT_MANIFEST_REVIEW: flag
    .default(false)
    .describe('A manifest version that allows more than the one in force waits for the agreement of another admin.'),
  WRIT_TRUST_FILE: z
    .string()
    .optional()
    .describe('YAML file with the issuers, bindings and clients that may open sessions.'),
  WRIT_REQUIRE_DPOP: flag.default(false).describe('Refuse sessions whose token is not bound to a key (RFC 9449).'),
  WRIT_SESSION_TOKEN_SECONDS: seconds(300, 30, 3600).describe(
    'Lifetime of a session token; a heartbeat gives the next one.',
  ),
  WRIT_SESSION_MAX_SECONDS: seconds(86_400, 60, 604_800).describe('Longest wall time any manifest may give a session.'),
  WRIT_SESSION_SLEEP_SECONDS: seconds(604_800, 0, 604_800).describe(
    'How long after its opening a session may still sleep while people decide, where its manifest lets it (`envelope.sleep`); 0 = none sleeps.',
  ),
  WRIT_HEARTBEAT_SECONDS: seconds(60, 1, 3600).describe('How often an agent must say that it lives.'),
  WRIT_HEARTBEAT_MISSES: count(3, 1, 100).describe('Missed heartbeats after which the session ends.'),
  WRIT_SNAPSHOT_SECONDS: seconds(60, 0, 60).describe(
    'How long a host may make calls that no rule looks at without asking, by a signed snapshot (`offline` of the SDK): so long after a session has ended, it may still make them. 0 = every call is asked for.',
  ),
  WRIT_EDITOR_COOLING_SECONDS: seconds(86_400, 0, 30 * 86_400).describe(
    'Whoever wrote, or agreed to, a version of an agent’s manifest approves nothing that this agent asks for, for so long; 0 = no time.',
  ),
  WRIT_APPROVAL_CHALLENGE: z
    .enum(['on', 'off'])
    .default('off')
    .describe(
      'Whether each approval of a credential takes a challenge: the approver first picks the one sentence that the request says. `off`: where a manifest says `approval: { challenge: true }`.',
    ),
  WRIT_APPROVAL_WARNING: z
    .enum(['on', 'off'])
    .default('on')
    .describe(
      'Whether an approval that comes faster than a person can read counts only once its approver has confirmed it after a warning. `off`: it counts, and is noted.',
    ),
  WRIT_APPROVAL_REQUESTS_PER_HOUR: count(60, 0, 100_000).describe(
    'Requests of one agent that people are asked about in an hour, over all its sessions and processes; more are denied. 0 = no limit.',
  ),
  WRIT_DENIAL_COOLDOWN_SECONDS: seconds(300, 0, 86_400).describe(
    'For so long an agent is denied at once what a person denied it, for whatever lifetime and in whatever session. 0 = people are asked again.',
  ),
  WRIT_ACCESS_REQUEST_CALLBACKS: list
    .refine(
      (origins) => origins.every(isCallbackOrigin),
      'must be https origins (http on loopback alone), comma-separated',
    )
    .default([])
    .describe(
      'Origins (`https://host[:port]`, comma-separated) to which an agent may have the outcome of its access request posted, at any path. Empty = no callback is taken.',
    ),
  WRIT_ACCESS_REQUEST_CALLBACKS_ALLOW_PRIVATE: flag
    .default(false)
    .describe('Whether these names may lead to a private address (10.0.0.0/8, fc00::/7 and the like).'),
  WRIT_APPROVAL_TIMEOUT_SECONDS: seconds(300, 5, 86_400).describe(
    'Undecided for so long = denied, where the manifest says nothing of it (`approval: { expires: … }`).',
  ),
  WRIT_PASSKEY_APPROVAL_TIMEOUT_SECONDS: secondsUnset(5, 7 * 86_400)
    .optional()
    .describe(
      'The same for what a passkey must sign (tier 3): whoever has it may be away from it. Default: `WRIT_APPROVAL_TIMEOUT_SECONDS`.',
    ),
  WRIT_APPROVAL_ESCALATE_SECONDS: seconds(120, 0, 86_400).describe(
    'After so long without an answer, or half of the time that it waits where that is less, people are told again: the next ones where a channel has a next place to tell, else the same. At once when a place cannot be told. 0 = never.',
  ),
  WRIT_APPROVAL_REMINDER: flag
    .default(true)
    .describe(
      'Whether everybody who was told of a request is reminded, once, halfway between `WRIT_APPROVAL_ESCALATE_SECONDS` and its end.',
    ),
  WRIT_DIGEST_AT: z
    .string()
    .regex(/^(off|([01]\d|2[0-3]):[0-5]\d)$/, 'must be HH:MM by UTC, or off')
    .transform((text) => (text === 'off' ? null : Number(text.slice(0, 2)) * 60 + Number(text.slice(3))))
    .default(7 * 60)
    .describe(
      'When owners and groups are told, once a day, what was decided in their name: a time by UTC, such as `07:00`, or `off`. Told by the channels that deliver; nothing where there is none.',
    ),
  WRIT_ONCALL_FILE: z
    .string()
    .min(1)
    .optional()
    .describe(
      'YAML file with weekly rotas: who `oncall:NAME` of a manifest is ([on call](../approve.md#on-call)). Read at start. This or `WRIT_ONCALL_URL`.',
    ),
  WRIT_ONCALL_URL: httpUrl
    .optional()
    .describe(
      'Where a JSON document says who is on call: `{"on_call": {"NAME": ["user:a@example.com"]}}`. https (http on loopback alone), asked at most once a minute; no redirect is followed.',
    ),
  WRIT_ONCALL_TOKEN: z.string().min(1).optional().describe('Bearer token for `WRIT_ONCALL_URL`.'),
  WRIT_ONCALL_STALE_SECONDS: seconds(600, 60, 86_400).describe(
    'When `WRIT_ONCALL_URL` cannot be read, its last good answer counts for so long; then nobody is on call.',
  ),
  WRIT_ONCALL_ALLOW_PRIVATE: flag
    .default(false)
    .describe(
      'Whether the name in `WRIT_ONCALL_URL` may lead to a private address (10.0.0.0/8, fc00::/7 and the like).',
    ),
  WRIT_REDEEM_TIMEOUT_SECONDS: seconds(300, 5, 86_400).describe(
    'An approved grant that is not redeemed for so long is denied.',
  ),
  WRIT_PRE_APPROVAL_SECONDS: seconds(30 * 86_400, 0, 366 * 86_400).describe(
    'How far ahead an approver may approve what an agent will ask for; 0 = nobody may, and what was given approves nothing.',
  ),
  WRIT_PROVIDER_TIMEOUT_SECONDS: seconds(20, 1, 120).describe('How long the broker waits for a provider.'),
  WRIT_RECONCILE_SECONDS: seconds(1, 1, 60).describe('How often a worker looks for due rows.'),
  WRIT_GRANTS_PER_MINUTE: count(600, 0, 1_000_000).describe(
    'Grants one agent may ask for in a minute, over all processes; 0 = no limit.',
  ),
  WRIT_MAX_GRANTS_PER_SESSION: count(10_000, 1, 1_000_000).describe(
    'Grants one session may ask for, and denials it may collect in its tree; its manifest and envelope may say fewer grants.',
  ),
  WRIT_SESSIONS_PER_MINUTE: count(120, 0, 1_000_000).describe(
    'Sessions one agent may open in a minute, over all processes; 0 = no limit.',
  ),
  WRIT_REQUESTS_PER_MINUTE: count(6000, 0, 10_000_000).describe(
    'Requests one address may send this process in a minute; 0 = no limit.',
  ),
  WRIT_REFUSALS_PER_MINUTE: count(60, 0, 1_000_000).describe(
    'Refused token requests of one address, and misuses of one session’s token, that are put on the record in a minute, each; of more only their number. 0 = no limit.',
  ),
  WRIT_OIDC_ISSUER: httpUrl
    .optional()
    .describe(
      'OpenID Connect issuer where approvers and admins sign in. https; http on loopback only where the broker itself is on loopback.',
    ),
  WRIT_OIDC_CLIENT_ID: z.string().min(1).optional().describe('Client id of the broker there.'),
  WRIT_OIDC_CLIENT_SECRET: z
    .string()
    .min(1)
    .optional()
    .describe('Client secret; leave out for a public client with PKCE.'),
  WRIT_OIDC_JWKS_URI: httpUrl
    .optional()
    .describe('Where the keys of `WRIT_OIDC_ISSUER` are, when that is another host than the issuer’s own.'),
  WRIT_OIDC_PAR: flag
    .default(false)
    .describe(
      'Push sign-in requests to the issuer (PAR, RFC 9126). Left out, it is done where the issuer requires it of everybody.',
    ),
  WRIT_OIDC_SCOPE: z
    .string()
    .min(1)
    .optional()
    .describe('Scopes to ask for at sign-in; default `openid profile email`. Some issuers want one more for groups.'),
  WRIT_OIDC_GROUPS_CLAIM: z
    .string()
    .min(1)
    .default('groups')
    .describe('Claim with the groups of a person; `team:x` is group `x`. Dots descend: `realm_access.roles`.'),
  WRIT_OIDC_GROUPS_SEPARATOR: z
    .enum(['auto', 'comma', 'space', 'none'])
    .default('auto')
    .describe(
      'How a groups claim that is one text is taken apart: at commas, at spaces, not at all; `auto`: at commas where there are any, else at spaces. An array is never taken apart.',
    ),
  WRIT_OIDC_EMAIL_VERIFIED_CLAIM: z
    .string()
    .min(1)
    .default('email_verified')
    .describe(
      'Claim that is true when the issuer has verified the e-mail (Entra: `xms_edov`). Without it no e-mail gives a right.',
    ),
  WRIT_OIDC_ALIAS_CLAIMS: aliasClaims
    .default([])
    .describe(
      'More claims that name the same person (a code host login, say), comma-separated, each `claim` or `kind=claim`: what `started_by_claim` of another kind than e-mail is compared with. People must not be able to change them.',
    ),
  WRIT_OIDC_CLIENT_KEY_FILE: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Private key (PEM or JWK) that proves the broker at the issuer (`private_key_jwt`) in place of, or beside, a secret. Of what the issuer announces the broker takes `private_key_jwt`, `client_secret_basic`, `client_secret_post`, `client_secret_jwt`, in this order.',
    ),
  WRIT_LOGIN_SECONDS: seconds(28_800, 60, 86_400).describe(
    'How long a person stays signed in where the issuer can be asked again (a refresh token, or a userinfo endpoint that says the groups).',
  ),
  WRIT_LOGIN_IDLE_SECONDS: seconds(3600, 60, 86_400).describe(
    'A browser that asked for nothing for so long must sign in again. What a page’s script asks by itself does not count.',
  ),
  WRIT_LOGIN_RECHECK_SECONDS: seconds(900, 10, 900).describe(
    'How old the issuer’s word on a signed-in person’s groups may be before it is asked again.',
  ),
  WRIT_LOGIN_UNCHECKED_SECONDS: seconds(900, 60, 28_800).describe(
    'How long a person stays signed in where the issuer cannot be asked again: so long somebody removed from a group can still approve.',
  ),
  WRIT_PASSKEY_SIGN_IN_SECONDS: seconds(43_200, 0, 86_400).describe(
    'While the issuer does not answer, people sign in with a passkey, for half an hour, as whom the issuer confirmed at most so long ago, with the groups of then. 0 = nobody does.',
  ),
  WRIT_ADMIN_GROUP: z.string().min(1).optional().describe('OIDC group whose members are admins.'),
  WRIT_BREAK_GLASS_GROUP: z
    .string()
    .min(1)
    .optional()
    .describe('OIDC group whose members may break the glass, and agree to it, beside admins.'),
  WRIT_BREAK_GLASS_SECONDS: seconds(1800, 60, 14_400).describe(
    'How long a broken glass stays open when nobody says less: the longest, too.',
  ),
  WRIT_BREAK_GLASS_ALERTS: ownerNames
    .default([])
    .describe(
      'Who is told of every break-glass, and of an agent whose owner is gone, beside the owner of the agent: `team:GROUP` and `user:E-MAIL`, comma-separated. Each channel tells them where its routes say.',
    ),
  WRIT_BREAK_GLASS_REVIEW_SECONDS: seconds(259_200, 60, 2_592_000).describe(
    'In so long after its end a break-glass must be reviewed; then people are told every day.',
  ),
  WRIT_OWNER_GRACE_SECONDS: seconds(259_200, 0, 2_592_000).describe(
    'So long after the identity provider signalled that the account of an agent’s owner is disabled or gone, the agent’s sessions end and it opens no more, unless a manifest that names another owner is in force by then. 0 = at once.',
  ),
  WRIT_SIGNALS_ISSUER: httpUrl
    .optional()
    .describe(
      'Issuer of the Security Event Tokens of the identity provider (Shared Signals). With it, `WRIT_SIGNALS_PUSH_TOKEN` or `WRIT_SIGNALS_POLL_URL` is needed.',
    ),
  WRIT_SIGNALS_JWKS_URL: httpUrl
    .optional()
    .describe('Where its keys are; default as its `/.well-known/ssf-configuration` says, on its own host.'),
  WRIT_SIGNALS_AUDIENCE: z
    .string()
    .min(1)
    .optional()
    .describe('The `aud` that is expected of its tokens; default the broker’s own address.'),
  WRIT_SIGNALS_PUSH_TOKEN: z
    .string()
    .min(16, 'must have at least 16 characters')
    .optional()
    .describe('Bearer token with which it pushes to `/v1/signals` (RFC 8935); without it nothing is pushed.'),
  WRIT_SIGNALS_POLL_URL: httpUrl.optional().describe('Where its tokens are polled (RFC 8936).'),
  WRIT_SIGNALS_POLL_TOKEN: z.string().min(1).optional().describe('Bearer token for `WRIT_SIGNALS_POLL_URL`.'),
  WRIT_SIGNALS_OPAQUE_KIND: z
    .string()
    .refine((kind) => kind === 'subject' || (isKind(kind) && kind !== 'email' && kind !== 'username'), {
      message: 'must be `subject`, `oid` or a kind of WRIT_OIDC_ALIAS_CLAIMS',
    })
    .optional()
    .describe(
      'Kind of name that its `opaque` identifiers are: `subject` (the `sub` at `WRIT_OIDC_ISSUER`), `oid`, or one of `WRIT_OIDC_ALIAS_CLAIMS`. Without it such an identifier names nobody.',
    ),
  WRIT_STREAMS: list
    .refine((names) => names.every(isStreamName), 'must be names of at most 30 lower-case letters and digits')
    .refine((names) => new Set(names).size === names.length, 'must name each stream once')
    .default([])
    .describe(
      'Names of event streams, comma-separated: whom Writ signals that a session ended or an agent is suspended (Shared Signals). Each has [variables of its own](#an-event-stream).',
    ),
  WRIT_STREAMS_KEEP_SECONDS: seconds(604_800, 60, 604_800).describe(
    'How long an event is kept for a receiver that does not take it.',
  ),
  WRIT_TRUST_PROXY: count(0, 0, 10).describe(
    'Number of reverse proxies in front of the broker whose X-Forwarded-* headers are believed.',
  ),
  WRIT_METRICS_TOKEN: z
    .string()
    .min(16, 'must have at least 16 characters')
    .optional()
    .describe('When set, `/metrics` is given only to whoever sends it as a bearer token.'),
  WRIT_LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .describe('How much is logged (JSON lines on standard output).'),
  WRIT_STOP_SECONDS: seconds(25, 1, 600).describe(
    'How long a stop waits for what is under way; then the process leaves it to the others, which find it in the database. Below the time after which the process would be killed.',
  ),
  WRIT_EMBEDDED_MIN_FREE_MB: count(256, 0, 1_000_000).describe(
    'Free space on the disk of the embedded database below which it takes no writes; 0 = no margin.',
  ),
  WRIT_CHECKPOINTS: list
    .default(['log'])
    .refine(
      (places) =>
        places.length > 0 &&
        places.every((place) =>
          /^(log|off|\/.+|https?:\/\/.+|s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/[\w!.*'()/-]*)?)$/.test(place),
        ),
      'must be `log`, the path of a file from the root, an http(s) URL, or `s3://BUCKET/PREFIX`, several with commas between; or `off`',
    )
    .refine((places) => !places.includes('off') || places.length === 1, '`off` stands alone')
    .describe(
      'Where signed checkpoints of the record go, outside the database: `log`, the path of a file that is appended to, an `https` URL that takes a POST of lines, a bucket as `s3://BUCKET/PREFIX` (endpoint, region and credentials as the AWS SDK finds them); several with commas between. `off`: nowhere.',
    ),
  WRIT_CHECKPOINT_SECONDS: seconds(300, 1, 86_400).describe('How often a checkpoint is written.'),
  WRIT_CHECKPOINT_RETENTION_DAYS: count(0, 0, 36_500).describe(
    'How long nobody may remove a checkpoint from a bucket of `WRIT_CHECKPOINTS` (object lock, mode COMPLIANCE); 0 = as the bucket has it by default.',
  ),
  WRIT_CHECKPOINT_TOKEN: z.string().min(1).optional().describe('Bearer token for the URLs of `WRIT_CHECKPOINTS`.'),
  WRIT_KEY_LEAD_SECONDS: seconds(600, 0, 86_400).describe(
    'How long a rotated-in signing key is published before it signs.',
  ),
  WRIT_IDENTITY_TOKEN_ALGORITHM: z
    .enum(['ES256', 'RS256'])
    .default('ES256')
    .describe(
      'What the tokens are signed with by which the broker is known at clouds and object stores: `RS256` where one of them reads nothing else. Keys of both are published.',
    ),
});

/**
 * What is configured by variables of its own: a provider, a channel. `providers/registry.ts` and
 * `approvals/registry.ts` list them; both are read, reported on and documented alike.
 */
export interface SettingsModule<Settings = unknown> {
  readonly name: string;
  /**
   * Wanted when any of these variables is set and not empty; then `settings` must parse. `always` = there is
   * no way to do without.
   */
  readonly switchedOnBy: readonly string[] | 'always';
  /** Zod object over environment variables (string in, typed out), every one with `.describe(…)`. */
  readonly settings: z.ZodType<Settings>;
}

export type Settings = Readonly<z.output<typeof environment>> & {
  /** Parsed settings of the providers that are switched on, by name. */
  readonly providers: ReadonlyMap<string, unknown>;
  /** The same of the channels. */
  readonly channels: ReadonlyMap<string, unknown>;
  /** Of `WRIT_STREAMS`, in its order. */
  readonly streams: readonly EventStream[];
};

/** Thrown with all faults at once, one a line. */
export class ConfigurationError extends Error {
  readonly faults: string[];
  constructor(faults: string[]) {
    super(
      `The configuration has ${faults.length} fault${faults.length === 1 ? '' : 's'}:\n${faults.map((f) => `  - ${f}`).join('\n')}`,
    );
    this.name = 'ConfigurationError';
    this.faults = faults;
  }
}

/**
 * @param env usually `process.env`; empty values count as not set
 * @param providers as in `providers/registry.ts`
 * @param channels as in `approvals/registry.ts`; none for a tool that never asks for approval
 * @param unknown faults of `unknownVariables`, which a tool that reads a part of the variables leaves out
 * @throws ConfigurationError naming every missing or malformed variable
 */
export function loadSettings(
  env: Record<string, string | undefined>,
  providers: readonly SettingsModule[],
  channels: readonly SettingsModule[] = [],
  unknown: readonly string[] = [],
): Settings {
  const set = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== undefined && value !== ''));
  const faults: string[] = [...unknown];
  const report = (issues: z.core.$ZodIssue[]) => {
    for (const issue of issues) {
      const [variable, entry] = issue.path;
      const name = typeof entry === 'number' ? `${String(variable)}, entry ${entry + 1}` : issue.path.join('.');
      const missing = issue.code === 'invalid_type' && !(name in set);
      faults.push(name === '' ? issue.message : `${name}: ${missing ? 'is missing' : issue.message}`);
    }
  };

  const parsed = environment.safeParse(set, { error: (issue) => fieldWords(issue) });
  if (!parsed.success) report(parsed.error.issues);
  faults.push(...crossFaults(set));

  const readAll = (modules: readonly SettingsModule[]): ReadonlyMap<string, unknown> => {
    const read = new Map<string, unknown>();
    for (const { name, switchedOnBy, settings } of modules) {
      if (switchedOnBy !== 'always' && !switchedOnBy.some((variable) => variable in set)) continue;
      const result = settings.safeParse(set, { error: (issue) => fieldWords(issue) });
      if (result.success) read.set(name, result.data);
      else report(result.error.issues);
    }
    return read;
  };
  const modules = { providers: readAll(providers), channels: readAll(channels) };
  const { streams, faults: streamFaults } = readStreams(parsed.data?.WRIT_STREAMS ?? [], set);
  if (parsed.success) faults.push(...streamFaults);
  if (faults.length > 0) throw new ConfigurationError(faults);
  const schema = schemaOfUrl(parsed.data!.DATABASE_URL);
  return Object.freeze({
    ...parsed.data!,
    ...(schema === null ? {} : { WRIT_DATABASE_SCHEMA: schema }),
    ...modules,
    streams,
  });
}

/**
 * Checks that variables fit each other. Reads the raw values, so that it reports even when some are
 * malformed.
 */
function crossFaults(set: Record<string, string | undefined>): string[] {
  const faults: string[] = [];
  if ('DATABASE_URL' in set && !('WRIT_KEY_ENCRYPTION_KEY' in set)) {
    faults.push('WRIT_KEY_ENCRYPTION_KEY: is missing; with DATABASE_URL the key must come from outside the database');
  }
  if ('DATABASE_URL' in set && !('WRIT_ISSUER_URL' in set)) {
    faults.push('WRIT_ISSUER_URL: is missing; with DATABASE_URL several processes must agree on the issuer');
  } else if (set.WRIT_LISTEN !== undefined && !isLoopbackHost(set.WRIT_LISTEN) && !('WRIT_ISSUER_URL' in set)) {
    // The default would be plain http on loopback: wrong links, cookies without `Secure`, and an issuer that
    // anybody can claim to be.
    faults.push('WRIT_ISSUER_URL: is missing; whoever listens beyond loopback (WRIT_LISTEN) must say under which name');
  }
  if (!('DATABASE_URL' in set) && (set.WRIT_ROLE === 'api' || set.WRIT_ROLE === 'worker')) {
    faults.push(
      'WRIT_ROLE: the embedded database lives in one process, so its role is `all`; set DATABASE_URL to split',
    );
  }
  const schema = schemaOfUrl(set.DATABASE_URL);
  if (schema !== null && set.WRIT_DATABASE_SCHEMA !== undefined && set.WRIT_DATABASE_SCHEMA !== schema) {
    faults.push(
      `WRIT_DATABASE_SCHEMA: is ${set.WRIT_DATABASE_SCHEMA}, but DATABASE_URL says ?schema=${schema}; leave one of them out`,
    );
  }
  if (schema !== null && !schemaName.test(schema))
    faults.push('DATABASE_URL: ?schema= must be the name of a schema in lower case');
  for (const name of ['WRIT_ISSUER_URL', 'WRIT_OIDC_ISSUER']) {
    const url = set[name];
    if (url === undefined || !URL.canParse(url)) continue;
    if (url.startsWith('http://') && !isLoopback(url))
      faults.push(`${name}: must be https (plain http is for loopback only)`);
    // Tokens, links, cookies and what clouds fetch are under this name, letter for letter.
    if (name === 'WRIT_ISSUER_URL' && url !== new URL(url).origin) {
      faults.push(
        `${name}: must be scheme, lower-case host and port alone (${new URL(url).origin}): no path, trailing slash, query, user or default port`,
      );
    }
  }
  for (const place of set.WRIT_CHECKPOINTS?.split(',').map((one) => one.trim()) ?? []) {
    if (place.startsWith('http://') && URL.canParse(place) && !isLoopback(place))
      faults.push('WRIT_CHECKPOINTS: must be https (plain http is for loopback only)');
  }
  const rotas = set.WRIT_ONCALL_URL;
  if (rotas !== undefined && URL.canParse(rotas)) {
    const { protocol, username, password } = new URL(rotas);
    if (protocol === 'http:' && !isLoopback(rotas))
      faults.push('WRIT_ONCALL_URL: must be https (plain http is for loopback only)');
    if (username !== '' || password !== '')
      faults.push('WRIT_ONCALL_URL: must hold no user and password; WRIT_ONCALL_TOKEN is for that');
    if ('WRIT_ONCALL_FILE' in set) faults.push('WRIT_ONCALL_FILE: rotas are in a file or at WRIT_ONCALL_URL, not both');
  }
  faults.push(...signalFaults(set));
  const { WRIT_ISSUER_URL: issuer, WRIT_OIDC_ISSUER: login } = set;
  const local = issuer === undefined || !URL.canParse(issuer) || isLoopback(issuer);
  if (!local && login?.startsWith('http://') && URL.canParse(login) && isLoopback(login)) {
    faults.push('WRIT_OIDC_ISSUER: must be https (http on loopback is for a broker that is on loopback too)');
  }
  if ('WRIT_OIDC_ISSUER' in set !== 'WRIT_OIDC_CLIENT_ID' in set) {
    faults.push('WRIT_OIDC_ISSUER' in set ? 'WRIT_OIDC_CLIENT_ID: is missing' : 'WRIT_OIDC_ISSUER: is missing');
  }
  return faults;
}

function signalFaults(set: Record<string, string | undefined>): string[] {
  const given = Object.keys(set).filter((name) => name.startsWith('WRIT_SIGNALS_'));
  if (given.length === 0) return [];
  const faults: string[] = [];
  if (!given.includes('WRIT_SIGNALS_ISSUER'))
    faults.push(`WRIT_SIGNALS_ISSUER: is missing, without which ${given[0]} says nothing`);
  if (!given.includes('WRIT_SIGNALS_PUSH_TOKEN') && !given.includes('WRIT_SIGNALS_POLL_URL'))
    faults.push('WRIT_SIGNALS_PUSH_TOKEN: is missing, and so is WRIT_SIGNALS_POLL_URL: no signal could come');
  if (given.includes('WRIT_SIGNALS_POLL_URL') !== given.includes('WRIT_SIGNALS_POLL_TOKEN'))
    faults.push('WRIT_SIGNALS_POLL_URL and WRIT_SIGNALS_POLL_TOKEN: one is missing');
  if (set.WRIT_SIGNALS_OPAQUE_KIND === 'subject' && !('WRIT_OIDC_ISSUER' in set))
    faults.push('WRIT_SIGNALS_OPAQUE_KIND: is `subject`, of WRIT_OIDC_ISSUER, which is missing');
  for (const name of ['WRIT_SIGNALS_ISSUER', 'WRIT_SIGNALS_JWKS_URL', 'WRIT_SIGNALS_POLL_URL']) {
    const url = set[name];
    if (url?.startsWith('http://') && URL.canParse(url) && !isLoopback(url))
      faults.push(`${name}: must be https (plain http is for loopback only)`);
  }
  return faults;
}
