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
import {
  type OpenedSession,
  type OpenSessionDeps,
  openSession,
  type Parent,
  type Principal,
  type TaskDeclaration,
} from './open-session.ts';
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
 *   `unsupported_grant_type`, `invalid_dpop_proof`, `rate_limited`, `unavailable` (the issuer's keys cannot
 *   be had)
 */
export async function exchangeToken(deps: ExchangeDeps, request: ExchangeRequest): Promise<OpenedSession> {
  if (deps.requireDpop && request.proof === null) {
    throw new WritError('invalid_dpop_proof', {
      detail: 'This broker binds every session to a key: send a DPoP proof.',
    });
  }
  if (request.grantType === 'client_credentials') return openFor(deps, request, await clientPrincipal(deps, request));
  if (request.grantType !== tokenExchange) throw new WritError('unsupported_grant_type');
  if (request.subjectToken === undefined || request.subjectTokenType === undefined) {
    const path = request.subjectToken === undefined ? 'subject_token' : 'subject_token_type';
    throw new WritError('invalid_request', { errors: [{ path, message: 'is missing' }] });
  }
  if (request.subjectTokenType === accessTokenType) return openChild(deps, request, request.subjectToken);
  if (!jwtTypes.has(request.subjectTokenType)) {
    throw new WritError('invalid_request', {
      errors: [{ path: 'subject_token_type', message: 'must be that of a JWT, an ID token, or an access token' }],
    });
  }
  return openFor(deps, request, await fromPlatform(deps, request.subjectToken));
}

async function fromPlatform(deps: ExchangeDeps, token: string): Promise<Principal> {
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
    replay: subject.replayKey === null ? null : { key: subject.replayKey, expiresAt: subject.replayExpiresAt },
  };
}

/** Who a client assertion is of. @throws WritError `invalid_client` */
export async function clientPrincipal(
  deps: Pick<ExchangeDeps, 'trust' | 'clock' | 'keys' | 'issuer'>,
  request: Pick<ExchangeRequest, 'clientAssertionType' | 'clientAssertion' | 'clientId'>,
): Promise<Principal> {
  const client = await verifyClientAssertion(
    {
      type: request.clientAssertionType,
      assertion: request.clientAssertion,
      ...(request.clientId === undefined ? {} : { clientId: request.clientId }),
    },
    deps.trust,
    {
      clock: deps.clock,
      keys: deps.keys,
      audiences: [deps.issuer, `${deps.issuer}/oauth/token`, `${deps.issuer}/oauth/bc-authorize`],
    },
  );
  return {
    agent: client.agent,
    subject: { issuer: 'private_key_jwt', subject: client.clientId },
    startedBy: null,
    onBehalfOf: null,
    responsible: client.responsible,
    replay: { key: client.replayKey, expiresAt: client.replayExpiresAt },
  };
}

/** Opens a session for whoever was verified, or wakes theirs. */
export function openFor(
  deps: ExchangeDeps,
  request: Pick<ExchangeRequest, 'task' | 'proof' | 'resume' | 'requestId'>,
  principal: Principal,
): Promise<OpenedSession> {
  const { task, proof } = request;
  if (request.resume !== undefined) return wake(deps, request, principal, request.resume);
  if (task === null) throw refuseTask('task_type', 'is missing');
  if (task.task_type === undefined) throw refuseTask('task_type', 'is missing');
  if (task.capabilities !== null)
    throw refuseTask('capabilities', 'is for child sessions: the manifest says what a session may ask for');
  return openSession(deps, {
    principal,
    declaration: { ...task, task_type: task.task_type },
    jkt: proof?.jkt ?? null,
    proof: proof === null ? null : { key: proof.replayKey, expiresAt: proof.replayExpiresAt },
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
  const proven = proof === null ? [] : [{ key: proof.replayKey, expiresAt: proof.replayExpiresAt }];
  const once = [...(principal.replay === null ? [] : [principal.replay]), ...proven];
  return wakeSession(deps, { principal, handle, jkt: proof?.jkt ?? null, once, requestId });
}

/** A sub-agent's session: the parent's task, fewer capabilities, a sooner end. */
async function openChild(deps: ExchangeDeps, request: ExchangeRequest, subjectToken: string): Promise<OpenedSession> {
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
  if (task.task_type !== undefined && task.task_type !== parent.task.task_type) {
    throw refuseTask('task_type', 'is not the parent’s: a child works on the same task');
  }
  if (Object.entries(task.inputs).some(([name, value]) => parent.task.inputs[name] !== value)) {
    throw refuseTask('inputs', 'are not the parent’s: a child works on the same task');
  }
  if (task.on_behalf_of !== null && !isFor(parent, task.on_behalf_of)) {
    throw refuseTask('on_behalf_of', 'is not the parent’s');
  }
  if (task.capabilities === null || task.capabilities.length === 0) {
    throw refuseTask('capabilities', 'must name what the child may ask for');
  }
  const manifest = await deps.catalog.inForce(parent.agent, parent.currentManifestVersion);
  for (const [i, name] of task.capabilities.entries()) {
    const capability = member(manifest.compiled.manifest.capabilities, name);
    const within = capability !== undefined && (!parent.narrowed || parent.capabilities.includes(name));
    if (!within) throw refuseTask(`capabilities[${i}]`, 'is not one the parent may ask for');
  }
  const { capabilities } = task;
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
      replay: null,
    },
    declaration: {
      ...task,
      task_type: parent.task.task_type,
      inputs: parent.task.inputs,
      on_behalf_of: parent.declaredOnBehalfOf,
    },
    jkt: request.dpopJkt ?? request.proof?.jkt ?? null,
    proof: request.proof === null ? null : { key: request.proof.replayKey, expiresAt: request.proof.replayExpiresAt },
    child: { parent: parentOf, capabilities: [...new Set(capabilities)] },
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
