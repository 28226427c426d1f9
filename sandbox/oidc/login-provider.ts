/**
 * The approvers' OIDC provider: authorization code + PKCE, one form that works without JavaScript, people
 * with groups and e-mail in the ID token. The protocol is `oidc-provider`'s; ours are the people, the form
 * and the address.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, type JWK } from 'jose';
import { type ClientMetadata, type Configuration, Provider } from 'oidc-provider';
import { loginStore } from './login-store.ts';

export interface LoginUser {
  email: string;
  name: string;
  groups: string[];
  password: string;
  /** Default: the e-mail. */
  subject?: string;
  /** Claims over those above; undefined takes one away. */
  claims?: { [claim: string]: unknown };
}

export interface LoginClient {
  clientId: string;
  /** Left out: a public client, which PKCE alone protects. */
  clientSecret?: string;
  /** How it proves itself; default `client_secret_basic` with a secret, else not at all. */
  authentication?: 'client_secret_basic' | 'client_secret_post' | 'private_key_jwt';
  /** For `private_key_jwt`: its public keys. */
  jwks?: { keys: JWK[] };
  redirectUris: string[];
}

export interface LoginProviderOptions {
  port?: number;
  clients: LoginClient[];
  /** Read at every sign-in and at every question: a test may change them while the provider runs. */
  users: LoginUser[];
  /** Gives a refresh token with every sign-in. Default no. */
  refreshTokens?: boolean;
  /** Default yes. */
  userinfo?: boolean;
  /** Another answer than the provider's own, by the path of a request: a gateway's in front of it, say. */
  insteadOf?: (path: string) => { status: number; headers?: { [name: string]: string }; body: string } | null;
  /** Client authentication methods that it announces and takes. Default all that the library has. */
  authentications?: ('client_secret_basic' | 'client_secret_post' | 'private_key_jwt' | 'none')[];
}

export interface LoginProvider {
  issuer: string;
  close(): Promise<void>;
}

/** The demo's people, by the part they play; one password for all, shown by the quickstart. */
export const demoPassword = 'demo-password';
export const demoUsers: LoginUser[] = [
  { email: 'approver@example.com', name: 'Approver', groups: ['billing', 'storage'], password: demoPassword },
  { email: 'owner@example.com', name: 'Owner', groups: ['billing'], password: demoPassword },
  { email: 'admin@example.com', name: 'Admin', groups: ['writ-admins'], password: demoPassword },
  { email: 'outsider@example.com', name: 'Outsider', groups: ['marketing'], password: demoPassword },
];

const maxBody = 4_096;

/**
 * Starts the provider on 127.0.0.1. The issuer carries the port, so the socket is bound before the provider
 * is made.
 */
export async function startLoginProvider(options: LoginProviderOptions): Promise<LoginProvider> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const provider = new Provider(issuer, await configuration(options));
  const protocol = provider.callback();
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const other = options.insteadOf?.(request.url ?? '') ?? null;
    if (other !== null) return void response.writeHead(other.status, other.headers).end(other.body);
    if (!(request.url ?? '').startsWith('/interaction/')) return void protocol(request, response);
    interact(provider, options.users, request, response).catch(() => {
      // The library throws when the interaction is unknown or its cookie is missing: a stale tab, or somebody
      // else's link.
      if (!response.headersSent) page(response, 400, '<p>This sign-in has expired. Go back and start again.</p>');
    });
  });
  return {
    issuer,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** One for all providers of this process: an RSA key takes a tenth of a second to make. */
let signingKey: Promise<JWK> | undefined;
const makeSigningKey = async (): Promise<JWK> => {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  return exportJWK(privateKey);
};

async function configuration(options: LoginProviderOptions): Promise<Configuration> {
  const { clients, users, refreshTokens = false, userinfo = true, authentications } = options;
  signingKey ??= makeSigningKey();
  return {
    adapter: loginStore(),
    clients: clients.map((client) => clientMetadata(client, refreshTokens)),
    ...(authentications === undefined ? {} : { clientAuthMethods: authentications }),
    issueRefreshToken: () => refreshTokens,
    jwks: { keys: [{ ...(await signingKey), use: 'sig', alg: 'RS256', kid: 'login' }] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', ...otherClaims],
      groups: ['groups'],
    },
    scopes: ['openid', 'email', 'profile', 'groups'],
    // The broker reads who somebody is from the ID token, so the claims go there and not only to the userinfo
    // endpoint.
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false }, userinfo: { enabled: userinfo } },
    interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
    ttl: { Interaction: 600, Session: 3_600, Grant: 3_600, IdToken: 600, AccessToken: 600, AuthorizationCode: 60 },
    findAccount: (_context, id) => {
      const user = users.find((known) => subjectOf(known) === id);
      if (user === undefined) return undefined;
      const { email, name, groups, claims } = user;
      return { accountId: id, claims: () => ({ sub: id, email, email_verified: true, name, groups, ...claims }) };
    },
    // The deployment's own client: signing in is consent, so no second page asks for it.
    loadExistingGrant: async (context) => {
      const { client, session, provider } = context.oidc;
      if (client === undefined || session?.accountId === undefined) return undefined;
      const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope('openid email profile groups');
      await grant.save();
      return grant;
    },
    renderError: (context, out) => {
      context.type = 'html';
      context.body = html(`<p>Sign-in failed: ${escaped(out.error)}</p>`);
    },
  };
}

const subjectOf = (user: LoginUser) => user.subject ?? user.email;

/** What real providers release besides, each under the name that it has there. */
const otherClaims = [
  'preferred_username',
  'github_login',
  'oid',
  'xms_edov',
  'realm_access',
  'roles',
  'hasgroups',
  '_claim_names',
  '_claim_sources',
];

function clientMetadata(client: LoginClient, refreshTokens: boolean): ClientMetadata {
  return {
    client_id: client.clientId,
    ...(client.clientSecret === undefined ? {} : { client_secret: client.clientSecret }),
    token_endpoint_auth_method:
      client.authentication ?? (client.clientSecret === undefined ? 'none' : 'client_secret_basic'),
    ...(client.jwks === undefined ? {} : { jwks: client.jwks }),
    redirect_uris: client.redirectUris,
    grant_types: refreshTokens ? ['authorization_code', 'refresh_token'] : ['authorization_code'],
    response_types: ['code'],
  };
}

/** GET shows the form; POST with the right e-mail and password sends the browser on its way. */
async function interact(
  provider: Provider,
  users: LoginUser[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { uid, prompt } = await provider.interactionDetails(request, response);
  if (prompt.name !== 'login') return page(response, 400, `<p>Not asked here: ${escaped(prompt.name)}.</p>`);
  if (request.method !== 'POST') return page(response, 200, form(uid));
  const fields = await formFields(request);
  const user = users.find((known) => known.email === fields.get('email')?.trim().toLowerCase());
  if (user === undefined || !sameText(user.password, fields.get('password') ?? '')) {
    return page(response, 401, `<p role="alert">E-mail or password is wrong.</p>${form(uid)}`);
  }
  await provider.interactionFinished(request, response, { login: { accountId: subjectOf(user) } });
}

async function formFields(request: IncomingMessage): Promise<URLSearchParams> {
  let body = '';
  for await (const chunk of request) {
    body += chunk;
    if (body.length > maxBody) throw new Error('the form is too long');
  }
  return new URLSearchParams(body);
}

function form(uid: string): string {
  return `<form method="post" action="/interaction/${encodeURIComponent(uid)}">
<label>E-mail <input name="email" type="email" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button>
</form>`;
}

function page(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
  });
  response.end(html(body));
}

function html(body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in (sandbox)</title><style>body{font:1rem system-ui;max-width:20rem;margin:3rem auto;padding:0 1rem}label,input,button{display:block;width:100%;box-sizing:border-box;margin:.5rem 0;font:inherit}input,button{padding:.6rem}</style>
<h1>Sign in</h1>${body}</html>`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

function sameText(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}
