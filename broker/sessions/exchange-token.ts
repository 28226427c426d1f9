/**
 * The token endpoint's three ways to a session: a platform's OIDC token (RFC 8693), a client assertion (RFC
 * 7523), or a parent session's token, for a sub-agent.
 */
import { WritError } from '../core/errors.ts';
import { maySame, readUser, userText } from '../core/identifier.ts';
import { bindAgent } from '../identity/bind-agent.ts';
import { verifyClientAssertion } from '../identity/client-assertion.ts';
import type { CheckedProof } from '../identity/dpop.ts';
import type { KeyResolver } from '../identity/jwks.ts';
import { verifyPlatformToken } from '../identity/platform-token.ts';
import type { Trust } from '../identity/trust.ts';
import { member } from '../manifests/manifest.ts';
import { type Caller, readSession, type SessionFacts } from './authenticate.ts';
import { assertionOnce, proofOnce, subjectTokenOnce } from './one-time.ts';
import {
  type Narrowing,
  type OpenSessionDeps,
  openSession,
  type Parent,
  type Principal,
  refuseWish,
  type TaskDeclaration,
} from './open-session.ts';
import type { OpenedSession } from './opened-session.ts';
import type { SessionTokens } from './session-token.ts';
import { type WakeDeps, wakeSession } from './wake.ts';

export const tokenExchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';
const jwtTypes = new Set(['urn:ietf:params:oauth:token-type:jwt', 'urn:ietf:params:oauth:token-type:id_token']);

export interface ExchangeDeps extends OpenSessionDeps, WakeDeps {
  trust: Trust;
  keys: KeyResolver;
  tokens: SessionTokens;
  /** The broker's issuer: the only audience a platform token may be for. */
  issuer: string;
  requireDpop: boolean;
}

type DeclaredTask = Partial<Pick<TaskDeclaration, 'task_type'>> &
  Omit<TaskDeclaration, 'task_type'> & { capabilities: string[] | null };

/**
 * The request, checked for shape. `proof` has been verified for this endpoint; it is not yet known to be
 * fresh.
 */
export interface ExchangeRequest {
  grantType: string;
  subjectToken: string | undefined;
  subjectTokenType: string | undefined;
  clientAssertionType: string | undefined;
  clientAssertion: string | undefined;
  clientId: string | undefined;
  /** Names of the capabilities that the session is to be able to ask for, of those that its task allows. */
  scope: readonly string[] | null;
  /** Null where a session is resumed. */
  task: DeclaredTask | null;
  /** Handle of a session that sleeps. */
  resume: string | undefined;
  proof: CheckedProof | null;
  /** For a child session: thumbprint of the key its token is bound to; the parent's when absent. */
  dpopJkt: string | undefined;
  requestId: string;
}

/**
 * @throws WritError `invalid_grant`, `invalid_client`, `invalid_request`, `invalid_authorization_details`,
 *   `invalid_scope`, `unsupported_grant_type`, `invalid_dpop_proof`, `rate_limited`, `unavailable` (the
 *   issuer's keys cannot be had)
 */
export async function exchangeToken(deps: ExchangeDeps, request: ExchangeRequest): Promise<OpenedSession> {
  if (deps.requireDpop && request.proof === null) {
    throw new WritError('invalid_dpop_proof', {
      detail: 'This broker binds every session to a key: send a DPoP proof.',
    });
  }
  if (request.grantType === 'client_credentials') {
    refuseOthersKey(request);
    return openFor(deps, request, await clientPrincipal(deps, request));
  }
  if (request.grantType !== tokenExchange) throw new WritError('unsupported_grant_type');
  if (request.subjectToken === undefined || request.subjectTokenType === undefined) {
    const path = request.subjectToken === undefined ? 'subject_token' : 'subject_token_type';
    throw new WritError('invalid_request', { errors: [{ path, message: 'is missing' }] });
  }
  const client = await sentClient(deps, request);
  if (request.subjectTokenType === accessTokenType) return openChild(deps, request, request.subjectToken, client);
  if (!jwtTypes.has(request.subjectTokenType)) {
    throw new WritError('invalid_request', {
      errors: [{ path: 'subject_token_type', message: 'must be that of a JWT, an ID token, or an access token' }],
    });
  }
  refuseOthersKey(request);
  const principal = await fromPlatform(deps, request.subjectToken, request.proof);
  sameAgent(client, principal.agent);
  return openFor(deps, request, { ...principal, shown: [...principal.shown, ...(client?.shown ?? [])] });
}

/**
 * Who a token exchange says it comes from besides its subject token: nothing need be said, but what is said
 * holds.
 */
async function sentClient(deps: ExchangeDeps, request: ExchangeRequest): Promise<Principal | null> {
  const { clientAssertion, clientAssertionType } = request;
  return clientAssertion === undefined && clientAssertionType === undefined ? null : clientPrincipal(deps, request);
}

function sameAgent(client: Principal | null, agent: string): void {
  if (client !== null && client.agent !== agent)
    throw new WritError('invalid_client', {
      detail: 'The client assertion is another agent’s than the subject token.',
    });
}

/** Only a child's key is named without its proof: the request is proven with the parent's. */
function refuseOthersKey({ dpopJkt, proof }: ExchangeRequest): void {
  if (dpopJkt === undefined || dpopJkt === proof?.jkt) return;
  const message = proof === null ? 'needs a DPoP proof made with that key' : 'is not the key of the DPoP proof';
  throw new WritError('invalid_request', { errors: [{ path: 'dpop_jkt', message }] });
}

async function fromPlatform(deps: ExchangeDeps, token: string, proof: CheckedProof | null): Promise<Principal> {
  const subject = await verifyPlatformToken(token, deps.trust, {
    clock: deps.clock,
    keys: deps.keys,
    audience: deps.issuer,
  });
  const bound = bindAgent(subject, deps.trust);
  return {
    agent: bound.agent,
    subject: { issuer: subject.issuer, subject: subject.subject },
    claims: subject.claims,
    startedBy: bound.startedBy,
    onBehalfOf: bound.onBehalfOf,
    responsible: bound.responsible,
    shown: [subjectTokenOnce(subject, proof)],
  };
}

/** Who a client assertion is of. @throws WritError `invalid_client` */
export async function clientPrincipal(
  deps: Pick<ExchangeDeps, 'trust' | 'clock' | 'keys' | 'issuer'>,
  request: Pick<ExchangeRequest, 'clientAssertionType' | 'clientAssertion' | 'clientId'>,
): Promise<Principal> {
  const verified = await verifyClientAssertion(
    {
      type: request.clientAssertionType,
      assertion: request.clientAssertion,
      ...(request.clientId === undefined ? {} : { clientId: request.clientId }),
    },
    deps.trust.clients,
    {
      clock: deps.clock,
      keys: deps.keys,
      audiences: [deps.issuer, ...['token', 'bc-authorize', 'revoke'].map((name) => `${deps.issuer}/oauth/${name}`)],
    },
  );
  return {
    agent: verified.client.agent,
    subject: { issuer: 'private_key_jwt', subject: verified.client.clientId },
    startedBy: null,
    onBehalfOf: null,
    responsible: verified.client.responsible,
    shown: [assertionOnce(verified)],
  };
}

/** Opens a session for whoever was verified, or wakes theirs. */
export function openFor(
  deps: ExchangeDeps,
  request: Pick<ExchangeRequest, 'task' | 'scope' | 'proof' | 'resume' | 'requestId'>,
  principal: Principal,
): Promise<OpenedSession> {
  return underName(principal.agent, () => openOrWake(deps, request, principal));
}

/** What is refused to a verified agent is recorded as its own. */
async function underName<T>(agent: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    if (error instanceof WritError) error.agent = agent;
    throw error;
  }
}

async function openOrWake(
  deps: ExchangeDeps,
  request: Parameters<typeof openFor>[1],
  principal: Principal,
): Promise<OpenedSession> {
  const { task, proof } = request;
  if (request.resume !== undefined) return wake(deps, request, principal, request.resume);
  if (task === null) throw refuseTask('task_type', 'is missing');
  if (task.task_type === undefined) throw refuseTask('task_type', 'is missing');
  return openSession(deps, {
    principal,
    declaration: { ...task, task_type: task.task_type },
    jkt: proof?.jkt ?? null,
    shown: proofOnce(proof),
    narrowedTo: narrowing(task.capabilities, request.scope),
    child: null,
    requestId: request.requestId,
  });
}

function wake(
  deps: ExchangeDeps,
  { proof, requestId }: Pick<ExchangeRequest, 'proof' | 'requestId'>,
  principal: Principal,
  handle: string,
) {
  const once = [...principal.shown, ...proofOnce(proof)];
  return wakeSession(deps, { principal, handle, jkt: proof?.jkt ?? null, once, requestId });
}

/** A sub-agent's session: the parent's task, fewer capabilities, a sooner end. */
async function openChild(
  deps: ExchangeDeps,
  request: ExchangeRequest,
  subjectToken: string,
  client: Principal | null,
): Promise<OpenedSession> {
  const { task } = request;
  if (task === null || request.resume !== undefined)
    throw new WritError('invalid_request', {
      errors: [{ path: 'resume', message: 'is for whoever opened the session' }],
    });
  const claims = await deps.tokens
    .verify(subjectToken)
    .catch((cause) => refuseParent(cause, 'The subject token is not a current session token of this broker.'));
  // A stolen bound token must not buy a child on the thief's own key: the request is proven with the parent's
  // key, and names the child's (`dpop_jkt`).
  const caller: Caller = { ...claims, replay: null };
  const parent = await readSession(deps.store, caller, deps.clock.now()).catch((cause) =>
    refuseParent(cause, 'The parent session has ended.'),
  );
  if (parent.jkt !== null && request.proof?.jkt !== parent.jkt) {
    throw new WritError('invalid_dpop_proof', { detail: 'The parent is bound to a key: prove the request with it.' });
  }
  sameAgent(client, parent.agent);
  if (task.task_type !== undefined && task.task_type !== parent.task.task_type) {
    throw refuseTask('task_type', 'is not the parent’s: a child works on the same task');
  }
  if (Object.entries(task.inputs).some(([name, value]) => parent.task.inputs[name] !== value)) {
    throw refuseTask('inputs', 'are not the parent’s: a child works on the same task');
  }
  if (task.on_behalf_of !== null && !isFor(parent, task.on_behalf_of)) {
    throw refuseTask('on_behalf_of', 'is not the parent’s');
  }
  const wish = narrowing(task.capabilities, request.scope);
  if (wish === null || wish.names.length === 0)
    throw refuseTask('capabilities', 'must name what the child may ask for');
  const manifest = await deps.catalog.inForce(parent.agent, parent.currentManifestVersion);
  for (const [i, name] of wish.names.entries()) {
    const capability = member(manifest.compiled.manifest.capabilities, name);
    const within = capability !== undefined && (!parent.narrowed || parent.capabilities.includes(name));
    if (!within) throw refuseWish(wish, i, 'is not one the parent may ask for');
  }
  const parentOf: Parent = {
    id: parent.id,
    rootId: parent.rootId,
    expiresAt: parent.expiresAt,
    act: parent.subject.act ?? null,
    capabilities: parent.capabilities,
    narrowed: parent.narrowed,
    grantsLeft: parent.maxGrants === null ? null : Math.max(0, parent.maxGrants - parent.counts.session),
  };
  const { act: _parentActs, ...subject } = parent.subject;
  return openSession(deps, {
    principal: {
      agent: parent.agent,
      subject,
      startedBy: parent.startedBy,
      onBehalfOf: parent.onBehalfOf,
      responsible: parent.responsible,
      shown: client?.shown ?? [],
    },
    declaration: {
      ...task,
      task_type: parent.task.task_type,
      inputs: parent.task.inputs,
      on_behalf_of: parent.declaredOnBehalfOf,
    },
    jkt: request.dpopJkt ?? request.proof?.jkt ?? null,
    shown: proofOnce(request.proof),
    narrowedTo: null,
    child: { parent: parentOf, capabilities: [...new Set(wish.names)] },
    requestId: request.requestId,
  });
}

/** Whether the session acts for the person that a child's declaration names, vouched or declared. */
function isFor(parent: SessionFacts, declared: string): boolean {
  const named = readUser(declared);
  if (named === null) return false;
  if (parent.declaredOnBehalfOf === userText(named)) return true;
  return parent.onBehalfOf !== null && maySame(parent.onBehalfOf, named);
}

/**
 * What the session is to be able to ask for, as `scope` or as `capabilities` of the task say it; null when
 * neither does.
 */
function narrowing(capabilities: readonly string[] | null, scope: readonly string[] | null): Narrowing | null {
  if (scope === null)
    return capabilities === null ? null : { names: capabilities, path: 'authorization_details[0].capabilities' };
  if (capabilities !== null && !sameNames(scope, capabilities))
    throw new WritError('invalid_scope', {
      errors: [{ path: 'scope', message: 'names other capabilities than authorization_details[0].capabilities' }],
    });
  return { names: scope, path: 'scope' };
}

const sameNames = (one: readonly string[], other: readonly string[]) =>
  one.every((name) => other.includes(name)) && other.every((name) => one.includes(name));

function refuseTask(path: string, message: string): WritError {
  return new WritError('invalid_authorization_details', {
    errors: [{ path: `authorization_details[0].${path}`, message }],
  });
}

/** A token or session that does not hold, in the token endpoint's words; an outage stays one. */
function refuseParent(cause: unknown, detail: string): never {
  if (
    cause instanceof WritError &&
    ['unauthenticated', 'session_ended', 'session_suspended', 'session_asleep'].includes(cause.code)
  ) {
    throw new WritError('invalid_grant', { detail, cause });
  }
  throw cause;
}
