/** A server and who logs in there: read from a URL, with the password kept out of sight. */

export interface Address {
  host: string;
  port: number;
}

/**
 * verify-full: encrypted, the server's certificate verified with its name; require: encrypted; disable:
 * plain.
 */
export type SslMode = 'verify-full' | 'require' | 'disable';

/** Where to log in and as whom. Printed or made JSON, it has no password. */
export class Target {
  readonly address: Address;
  readonly database: string;
  readonly user: string;
  readonly sslMode: SslMode;
  readonly #password: string;

  constructor(address: Address, login: { database: string; user: string; password: string; sslMode: SslMode }) {
    this.address = address;
    this.database = login.database;
    this.user = login.user;
    this.sslMode = login.sslMode;
    this.#password = login.password;
  }

  password(): string {
    return this.#password;
  }

  /** The same server and database for somebody else, or at another address. */
  as(login: { user: string; password: string }, address: Address = this.address): Target {
    return new Target(address, { database: this.database, sslMode: this.sslMode, ...login });
  }

  /** The same login at another address. */
  at(address: Address): Target {
    return this.as({ user: this.user, password: this.#password }, address);
  }

  /** The same login in another database of the server. */
  in(database: string): Target {
    const { user, sslMode } = this;
    return new Target(this.address, { database, user, sslMode, password: this.#password });
  }
}

const loopback = new Set(['127.0.0.1', 'localhost', '::1']);

/** @returns what is wrong with the URL, without quoting it, or where it leads */
export function readTarget(text: string): Target | string {
  if (!URL.canParse(text)) return 'must be postgres://USER:PASSWORD@HOST/DATABASE';
  const url = new URL(text);
  if (!/^postgres(?:ql)?:$/.test(url.protocol)) return 'must begin with postgres://';
  const [user, password, database] = [url.username, url.password, url.pathname.slice(1)].map(decoded);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  if (host === '' || !user || !database) return 'must name a user, a host and a database';
  const unknown = [...url.searchParams.keys()].filter((name) => name !== 'sslmode');
  if (unknown.length > 0) return `has a parameter that is not understood: ${unknown[0]}`;
  const asked = url.searchParams.get('sslmode');
  if (asked !== null && !['verify-full', 'require', 'disable'].includes(asked))
    return 'has an sslmode that is none of verify-full, require, disable';
  const sslMode = (asked ?? (loopback.has(host) ? 'disable' : 'verify-full')) as SslMode;
  if (sslMode === 'disable' && !loopback.has(host)) return 'has sslmode=disable for a host that is not this machine';
  return new Target({ host, port: Number(url.port || 5432) }, { database, user, password: password ?? '', sslMode });
}

/** @returns null when it is neither HOST nor HOST:PORT */
export function readAddress(text: string): Address | null {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text);
  const port = Number(match?.[3] ?? 5432);
  const host = match?.[1] ?? match?.[2];
  return host === undefined || port < 1 || port > 65_535 ? null : { host, port };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
