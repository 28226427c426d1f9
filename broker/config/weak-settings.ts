/**
 * The closed list of settings that are allowed and weak. Each that is in use is logged once at start and
 * named by readiness, so that a deployment that was only tried out is not taken for one that is finished.
 */
import { isLoopback, isLoopbackHost } from '../core/loopback.ts';
import type { Settings } from './settings.ts';

export interface WeakSetting {
  /** For readiness, which strangers may read. */
  name: string;
  /** For the log: what is weak, and what to do. */
  text: string;
}

/** What the broker runs with. */
export interface InUse {
  settings: Settings;
  /** Public URL. */
  url: string;
  embedded: boolean;
  /** Mode bits of the file of the key-encryption key; null where the key comes from elsewhere. */
  keyFileMode: number | null;
  trustFileMode: number | null;
  /** The bootstrap token opens the admin endpoints. */
  bootstrapTokenOpens: boolean;
  /** Entries of the trust file that say of no session who started it. */
  withoutStarter: readonly string[];
}

const rules: { [name: string]: { applies(use: InUse): boolean; text: string | ((use: InUse) => string) } } = {
  bearer_sessions: {
    applies: ({ settings }) => !settings.WRIT_REQUIRE_DPOP,
    text: 'WRIT_REQUIRE_DPOP is off: a session may be opened without a key, and whoever gets hold of its token can use it',
  },
  embedded_store_in_public: {
    applies: ({ embedded, url }) => embedded && !isLoopback(url),
    text: 'the embedded database serves a public issuer: its key lies beside its data; set DATABASE_URL and WRIT_KEY_ENCRYPTION_KEY',
  },
  plain_http: {
    applies: ({ settings, url }) =>
      url.startsWith('http:') && !(isLoopback(url) && isLoopbackHost(settings.WRIT_LISTEN)),
    text: 'tokens travel over plain http beyond loopback; give WRIT_ISSUER_URL an https URL and put TLS in front',
  },
  key_file_readable: {
    applies: ({ keyFileMode }) => keyFileMode !== null && (keyFileMode & 0o077) !== 0,
    text: 'the key-encryption key’s file is open to others than its owner; chmod 600 it',
  },
  trust_file_writable: {
    applies: ({ trustFileMode }) => trustFileMode !== null && (trustFileMode & 0o022) !== 0,
    text: 'others than its owner may write WRIT_TRUST_FILE, and so open sessions as any agent; chmod go-w it',
  },
  proxies_trusted_from_anywhere: {
    applies: ({ settings }) => settings.WRIT_TRUST_PROXY > 0 && ['0.0.0.0', '::'].includes(settings.WRIT_LISTEN),
    text: 'WRIT_TRUST_PROXY believes X-Forwarded-For of whoever connects; only the proxies may reach this port',
  },
  bootstrap_token: {
    applies: ({ bootstrapTokenOpens }) => bootstrapTokenOpens,
    text: 'the bootstrap token still opens the admin endpoints; sign in as a member of WRIT_ADMIN_GROUP, which ends it',
  },
  metrics_for_anybody: {
    applies: ({ settings }) => settings.WRIT_METRICS_TOKEN === undefined && !isLoopbackHost(settings.WRIT_LISTEN),
    text: 'anybody may read /metrics; set WRIT_METRICS_TOKEN',
  },
  no_rate_limit: {
    applies: ({ settings }) =>
      [
        settings.WRIT_GRANTS_PER_MINUTE,
        settings.WRIT_SESSIONS_PER_MINUTE,
        settings.WRIT_REQUESTS_PER_MINUTE,
        settings.WRIT_REFUSALS_PER_MINUTE,
      ].includes(0),
    text: 'a limit per minute is off (0): one caller can take all there is, or fill the record',
  },
  nobody_started_it: {
    applies: ({ withoutStarter }) => withoutStarter.length > 0,
    text: ({ withoutStarter }) =>
      `the trust file does not say who starts the sessions of ${withoutStarter.slice(0, 20).join(', ')}: nobody is barred from approving his own run; write started_by_claim`,
  },
};

/** Those in use, in the order of the list. */
export function weakSettings(use: InUse): WeakSetting[] {
  return Object.entries(rules)
    .filter(([, { applies }]) => applies(use))
    .map(([name, { text }]) => ({ name, text: typeof text === 'string' ? text : text(use) }));
}
