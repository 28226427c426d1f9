/**
 * emulate's GitHub (files, branches, issues, pull requests …) behind the sandbox's front: seeded, and spoken
 * to with tokens of its own.
 *
 * The front's tokens never reach it. For each scope the front meets, one token with exactly that scope is
 * minted there, so emulate enforces the same repositories and permissions a second time. emulate takes any
 * unknown token for its first user, which is why only the front talks to its port.
 */
import { sign } from 'node:crypto';
import { createEmulator } from 'emulate';
import type { Answer } from './answers.ts';
import { type Repository, type SeedAccount, withMetadata } from './seed.ts';
import type { Token } from './tokens.ts';

const operator = 'sandbox-operator';
const passedOn = ['content-type', 'etag', 'link', 'last-modified'];

export interface Emulated {
  /** By lower-case `owner/name`. */
  repositories: Map<string, Repository>;
  /** Passes one request on, under `token`'s scope or anonymously. `path` carries its query. */
  forward(token: Token | null, request: Forwarded): Promise<Answer>;
  close(): Promise<void>;
}

export interface Forwarded {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Buffer;
}

/** `publicUrl`: the front's address, which replaces emulate's own in what it answers. */
export async function startEmulated(appId: number, publicUrl: string, accounts: SeedAccount[]): Promise<Emulated> {
  const emulator = await createEmulator({
    service: 'github',
    port: 0,
    seed: { tokens: operators(accounts), github: emulateSeed(appId, accounts) },
  });
  const base = `http://127.0.0.1:${new URL(emulator.url).port}`;
  const privateKey = emulator.generatedSecrets[0]?.value;
  if (privateKey === undefined) throw new Error('emulate made no key for the App');
  const appToken = signForEmulate(appId, privateKey);
  const scoped = new Map<string, Promise<string>>();

  const send = async (authorization: string | null, { method, path, headers, body }: Forwarded): Promise<Response> =>
    fetch(base + path, {
      method,
      headers: authorization === null ? headers : { ...headers, authorization: `Bearer ${authorization}` },
      ...(body.length > 0 ? { body: new Uint8Array(body) } : {}),
    });

  const json = async (authorization: string, method: string, path: string, value?: object): Promise<unknown> => {
    const body = Buffer.from(value === undefined ? '' : JSON.stringify(value));
    const response = await send(authorization, { method, path, headers: { 'content-type': 'application/json' }, body });
    if (!response.ok) throw new Error(`emulate answered ${response.status} to ${method} ${path}`);
    return response.json();
  };

  const tokenFor = (token: Token): Promise<string> => {
    const names = token.repositories.map((repository) => repository.name);
    const permissions = emulateLevels(token.permissions);
    const key = JSON.stringify([token.installation.id, names, permissions]);
    const path = `/app/installations/${token.installation.id}/access_tokens`;
    const minted =
      scoped.get(key) ??
      json(appToken, 'POST', path, { repositories: names, permissions }).then(
        (answer) => (answer as { token: string }).token,
      );
    scoped.set(key, minted);
    return minted;
  };

  const fill = async (): Promise<Map<string, Repository>> => {
    const repositories = new Map<string, Repository>();
    for (const account of accounts)
      for (const { name, files } of account.repositories) {
        const path = `/repos/${account.login}/${name}`;
        const author = operatorOf(account);
        for (const [file, text] of Object.entries(files ?? {}))
          await json(author, 'PUT', `${path}/contents/${encodeURI(file)}`, {
            message: `Add ${file}`,
            content: Buffer.from(text).toString('base64'),
          });
        const { id, node_id, full_name, private: hidden } = (await json(author, 'GET', path)) as Repository;
        repositories.set(full_name.toLowerCase(), { id, node_id, name, full_name, private: hidden });
      }
    return repositories;
  };
  const repositories = await fill().catch(async (error: unknown) => {
    await emulator.close();
    throw error;
  });

  return {
    repositories,
    async forward(token, request) {
      const response = await send(token === null ? null : await tokenFor(token), request);
      const headers: Record<string, string> = {};
      for (const name of passedOn) {
        const value = response.headers.get(name);
        if (value !== null) headers[name] = value.replaceAll(emulator.url, publicUrl);
      }
      const body = Buffer.from(await response.arrayBuffer());
      const isJson = headers['content-type']?.includes('json') ?? false;
      return {
        status: response.status,
        headers,
        body: isJson ? Buffer.from(body.toString().replaceAll(emulator.url, publicUrl)) : body,
      };
    },
    close: () => emulator.close(),
  };
}

/** Who puts the seeded files there: a user owns what is his, the operator administers every organisation. */
const operatorOf = ({ login, type }: SeedAccount) => (type === 'User' ? login : operator);

const operators = (accounts: SeedAccount[]) =>
  Object.fromEntries(accounts.map((account) => [operatorOf(account), { login: operatorOf(account) }]));

/** Without `exp`, which emulate does not ask for: its clock is the system's, the sandbox's is injected. */
function signForEmulate(appId: number, privateKey: string): string {
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode({ iss: String(appId) })}`;
  return `${signed}.${sign('RSA-SHA256', Buffer.from(signed), privateKey).toString('base64url')}`;
}

/** emulate knows read and write only. */
function emulateLevels(permissions: Record<string, string>): Record<string, string> {
  const levels = Object.entries(withMetadata(permissions as Token['permissions']));
  return Object.fromEntries(levels.map(([name, level]) => [name, level === 'admin' ? 'write' : level]));
}

function emulateSeed(appId: number, accounts: SeedAccount[]): Record<string, unknown> {
  const isUser = (account: SeedAccount) => account.type === 'User';
  return {
    users: [{ login: operator, site_admin: true }, ...accounts.filter(isUser).map(({ login }) => ({ login }))],
    orgs: accounts
      .filter((account) => !isUser(account))
      .map(({ login }) => ({ login, members: [{ login: operator, role: 'admin' }] })),
    repos: accounts.flatMap(({ login, repositories }) =>
      repositories.map((repository) => ({
        owner: login,
        name: repository.name,
        private: repository.private ?? true,
        auto_init: true,
      })),
    ),
    apps: [
      {
        app_id: appId,
        slug: 'writ-sandbox',
        name: 'Writ sandbox',
        installations: accounts.flatMap(({ login, installation }) =>
          installation === undefined
            ? []
            : [
                {
                  installation_id: installation.id,
                  account: login,
                  permissions: emulateLevels(installation.permissions),
                  ...(installation.repositories === undefined
                    ? { repository_selection: 'all' }
                    : { repository_selection: 'selected', repositories: installation.repositories }),
                },
              ],
        ),
      },
    ],
  };
}
