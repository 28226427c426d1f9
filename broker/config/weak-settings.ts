/**
 * The closed list of settings that are allowed and weak. Each that is in use is logged once at start and
 * named by readiness, so that a deployment that was only tried out is not taken for one that is finished.
 */
import { isEveryAddress, isLoopback, isLoopbackHost } from '../core/loopback.ts';
import type { Settings } from './settings.ts';

export interface WeakSetting {
  /** For readiness, which strangers may read. */
  name: string;
  /** For the log: what is weak, and what to do. */
  text: string;
}

/** A file with a secret must not be read by others, any other one not be written by them. */
export interface NamedFile {
  variable: string;
  mode: number;
  holds: 'secret' | 'rules';
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
  /** Other files and folders, by the variable that names them. Absent = none. */
  files?: readonly NamedFile[];
  /** Why the broker's own role in the database could change history; null = it could not. */
  powerfulRole?: string | null;
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
    applies: (use) => openKeyFiles(use).length > 0,
    text: (use) => `${openKeyFiles(use).join(' and ')}: the file is open to others than its owner; chmod 600 it`,
  },
  trust_file_writable: {
    applies: ({ trustFileMode }) => trustFileMode !== null && (trustFileMode & 0o022) !== 0,
    text: 'others than its owner may write WRIT_TRUST_FILE, and so open sessions as any agent; chmod go-w it',
  },
  rules_writable: {
    applies: (use) => writableRules(use).length > 0,
    text: (use) =>
      `others than its owner may write ${writableRules(use).join(' and ')}, and so decide what agents may do, or who approves; chmod go-w it`,
  },
  proxies_trusted_from_anywhere: {
    applies: ({ settings }) => settings.WRIT_TRUST_PROXY > 0 && isEveryAddress(settings.WRIT_LISTEN),
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
        settings.WRIT_APPROVAL_REQUESTS_PER_HOUR,
      ].includes(0),
    text: 'a limit per minute or hour is off (0): one caller can take all there is, fill the record, or tire those who approve',
  },
  no_checkpoints: {
    applies: ({ settings }) =>
      settings.WRIT_CHECKPOINTS.every(
        (place) => place === 'off' || (place === 'log' && settings.WRIT_LOG_LEVEL === 'silent'),
      ),
    text: 'no checkpoint of the record leaves the database: whoever writes it can cut or rewrite history unseen; set WRIT_CHECKPOINTS',
  },
  database_in_plain: {
    applies: ({ settings }) => settings.DATABASE_URL !== undefined && travelsInPlain(settings.DATABASE_URL),
    text: 'what the broker reads and writes travels to DATABASE_URL without TLS; add ?sslmode=verify-full',
  },
  database_role: {
    applies: ({ powerfulRole = null }) => powerfulRole !== null,
    text: ({ powerfulRole }) => powerfulRole ?? '',
  },
  nobody_started_it: {
    applies: ({ withoutStarter }) => withoutStarter.length > 0,
    text: ({ withoutStarter }) =>
      `the trust file does not say who starts the sessions of ${withoutStarter.slice(0, 20).join(', ')}: nobody is barred from approving his own run; write started_by_claim`,
  },
};

const openKeyFiles = ({ keyFileMode, files = [] }: InUse): string[] => [
  ...(keyFileMode !== null && (keyFileMode & 0o077) !== 0 ? ['the key-encryption key'] : []),
  ...files.filter(({ holds, mode }) => holds === 'secret' && (mode & 0o077) !== 0).map(({ variable }) => variable),
];

const writableRules = ({ files = [] }: InUse): string[] =>
  files.filter(({ holds, mode }) => holds === 'rules' && (mode & 0o022) !== 0).map(({ variable }) => variable);

/** As the driver reads it: encrypted where it is asked for alone. Sockets and loopback leave no machine. */
function travelsInPlain(databaseUrl: string): boolean {
  if (!URL.canParse(databaseUrl)) return false;
  const { hostname, searchParams } = new URL(databaseUrl);
  const host = searchParams.get('host') ?? decodeURIComponent(hostname);
  if (host === '' || host.startsWith('/') || isLoopbackHost(host)) return false;
  return !/^(true|1)$/.test(searchParams.get('ssl') ?? '') && /^(|disable)$/.test(searchParams.get('sslmode') ?? '');
}

/** Those in use, in the order of the list. */
export function weakSettings(use: InUse): WeakSetting[] {
  return Object.entries(rules)
    .filter(([, { applies }]) => applies(use))
    .map(([name, { text }]) => ({ name, text: typeof text === 'string' ? text : text(use) }));
}
