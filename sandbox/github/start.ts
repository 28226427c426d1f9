/**
 * A GitHub on loopback that enforces what the real one enforces. One request from top to bottom is `answer`.
 */
import { createPublicKey, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../../broker/core/vocabulary.ts';
import { type Answer, badCredentials, notFound, problem, suspended } from './answers.ts';
import { refuseAppJwt } from './app-jwt.ts';
import { startEmulated } from './emulated.ts';
import { answerOf, type Fault, type FaultPlace } from './faults.ts';
import { refuseAccess } from './gate.ts';
import { answerApp, findInstallation, installationsOf, isAppPath } from './installations.ts';
import { mintToken } from './mint.ts';
import { hourlyBudgets } from './rate-limit.ts';
import type { Installation, Permissions, SeedAccount } from './seed.ts';
import { openLedger, type Token, type TokenFormat } from './tokens.ts';
import { answerVariables } from './variables.ts';
import { bearerOf, type Call, parseJson, readCall, writeAnswer } from './wire.ts';

export interface GithubSandboxOptions {
  clock: Clock;
  /** Default 0: any free port. */
  port?: number;
  /** The App under whose JWT tokens are minted; either half of its key pair, PEM. */
  app: { id: number; privateKeyPem: string } | { id: number; publicKeyPem: string };
  accounts: SeedAccount[];
  /** `ghs_` + 36 characters (default; all that GHES knows), or the stateless form of 2026 with about 520. */
  tokenFormat?: TokenFormat;
  /** True = GitHub Enterprise Server: everything lies below /api/v3. */
  enterprise?: boolean;
  /**
   * Requests an hour for each installation and for the App. Absent: the headers are sent, nothing is refused.
   */
  rateLimit?: number;
}

export interface GithubSandbox {
  /** What GITHUB_API_URL must be. */
  url: string;
  /** Requests received so far, counted on arrival; those that ask for nothing but the time are not. */
  requests(): number;
  /** Switches a fault on for one kind of endpoint (default: minting) until it is set to null. */
  fail(fault: Fault | null, place?: FaultPlace): void;
  /**
   * The App was uninstalled and installed again: the installation goes on under a new id. (The repositories
   * behind it know the old one alone: its tokens can be minted, listed and deleted, and read nothing.)
   */
  reinstall(installationId: number, newId: number): void;
  suspend(installationId: number): void;
  /** An owner of the account gives the installation these permissions, and no others. */
  setPermissions(installationId: number, permissions: Permissions): void;
  unsuspend(installationId: number): void;
  /** The form of tokens from now on; older ones stay valid. */
  useTokenFormat(format: TokenFormat): void;
  /** How many tokens GitHub would still accept. */
  liveTokens(): number;
  close(): Promise<void>;
}

/** Starts front and emulate on 127.0.0.1; resolves when both answer and all files are there. */
export async function startGithubSandbox(options: GithubSandboxOptions): Promise<GithubSandbox> {
  const { clock, app } = options;
  const publicKey = createPublicKey('privateKeyPem' in app ? app.privateKeyPem : app.publicKeyPem);
  const basePath = options.enterprise === true ? '/api/v3' : '';
  const ledger = openLedger(clock, app.id);
  const budgets = hourlyBudgets(clock, options.rateLimit);
  const faults = new Map<FaultPlace, Fault>();
  let format: TokenFormat = options.tokenFormat ?? 'short';
  let received = 0;

  const server = createServer((request, response) => {
    // `/meta` is asked for the time alone.
    if (!request.url?.endsWith('/meta')) received += 1;
    const work = async () => {
      const call = await readCall(request, basePath);
      const token = call === null ? null : ledger.live(bearerOf(call) ?? '');
      const budget = String(token?.installation.id ?? 'app');
      const fault = call === null ? null : (faults.get(placeOf(call)) ?? null);
      if (fault === 'hang') return;
      const answered = call === null ? notFound() : await answer(call, token, budget, fault);
      if (fault === 'lost-answer') response.destroy();
      else writeAnswer(response, answered, { ...budgets.headers(budget), 'x-github-request-id': requestId() }, clock);
    };
    // A client that went away, or a body over the limit: there is nobody to answer.
    work().catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${basePath}`;
  const emulated = await startEmulated(app.id, url, options.accounts).catch((error: unknown) => {
    server.close();
    throw error;
  });
  const installations = installationsOf(options.accounts, emulated);

  async function answer(call: Call, token: Token | null, budget: string, fault: Fault | null): Promise<Answer> {
    const failure = answerOf(fault, Math.floor(clock.now().getTime() / 1000));
    if (failure !== null) return failure;
    if (budgets.spend(budget)) return problem(403, 'API rate limit exceeded for installation.');
    if (isAppPath(call.path)) return answerAsApp(call, fault);
    if (call.path === '/meta' && call.method === 'GET')
      return { status: 200, body: { verifiable_password_authentication: false } };
    if (call.authorization === null) return answerAnonymous(call);
    if (token === null) return badCredentials();
    if (token.installation.suspended) return suspended();
    if (call.path === '/installation/token' && call.method === 'DELETE') {
      token.revoked = true;
      return { status: 204 };
    }
    if (call.path === '/installation/repositories' && call.method === 'GET') return listRepositories(call, token);
    const variables = answerVariables(call.method, call.path, token, options.accounts);
    if (variables !== null) return variables;
    return refuseAccess(call.method, call.path, token) ?? emulated.forward(token, forwarded(call));
  }

  function answerAsApp(call: Call, fault: Fault | null): Answer {
    const refusal = refuseAppJwt(bearerOf(call) ?? '', app.id, publicKey, clock);
    if (refusal !== null) return refusal;
    if (placeOf(call) !== 'mint') return answerApp(call.method, call.path, installations, app.id);
    const installation = findInstallation(call.path, installations);
    return installation === undefined
      ? notFound()
      : mintToken(installation, parseJson(call.body), ledger, format, fault);
  }

  /** Without a token only public repositories can be read; private ones are not even admitted to exist. */
  async function answerAnonymous(call: Call): Promise<Answer> {
    if (call.method !== 'GET') return problem(401, 'Requires authentication');
    const answered = await emulated.forward(null, forwarded(call));
    return answered.status === 401 || answered.status === 403 ? notFound() : answered;
  }

  const installationWith = (id: number): Installation => {
    const found = installations.find((one) => one.id === id);
    if (found === undefined) throw new Error(`The sandbox has no installation ${id}`);
    return found;
  };

  return {
    url,
    requests: () => received,
    fail(fault, place = 'mint') {
      if (fault === null) faults.delete(place);
      else faults.set(place, fault);
    },
    reinstall: (id, newId) => {
      installationWith(id).id = newId;
    },
    suspend: (id) => {
      installationWith(id).suspended = true;
    },
    setPermissions: (id, permissions) => {
      installationWith(id).permissions = permissions;
    },
    unsuspend: (id) => {
      installationWith(id).suspended = false;
    },
    useTokenFormat: (next) => {
      format = next;
    },
    liveTokens: () => ledger.allLive().length,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await Promise.all([closed, emulated.close()]);
    },
  };
}

/** Octokit's own log lines quote it. */
const requestId = () => randomBytes(12).toString('hex').toUpperCase();

const forwarded = ({ method, path, query, headers, body }: Call) => ({ method, path: path + query, headers, body });

function placeOf({ method, path }: Call): FaultPlace {
  if (method === 'POST' && /^\/app\/installations\/[^/]+\/access_tokens$/.test(path)) return 'mint';
  if (path === '/installation/token') return 'revoke';
  return isAppPath(path) ? 'lookup' : 'data';
}

function listRepositories(call: Call, token: Token): Answer {
  const perPage = Number(new URLSearchParams(call.query).get('per_page') ?? 30);
  const repositories = token.repositories.slice(0, perPage).map((repository) => ({ ...repository }));
  return { status: 200, body: { total_count: token.repositories.length, repositories } };
}
