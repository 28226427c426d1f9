/** Composes the API of a broker: every operation and page, with its dependencies. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Express, Request, Response } from 'express';
import type { PagesDeps } from '../../approvals/contract.ts';
import { deliveringChannels } from '../../approvals/outbox.ts';
import { usePreApprovals } from '../../approvals/use-pre-approval.ts';
import { argumentsUnderReview } from '../actions/arguments-under-review.ts';
import { type ActionDeps, keyedDigest } from '../actions/request-action.ts';
import { breakGlassRouter } from '../console/break-glass.ts';
import { consoleRouter } from '../console/console.ts';
import { locksRouter } from '../console/locks.ts';
import { loginsRouter } from '../console/logins.ts';
import { manifestPagesRouter } from '../console/manifests.ts';
import { noSignInRouter } from '../console/no-sign-in.ts';
import { passkeysRouter } from '../console/passkeys.ts';
import { assetsRouter } from '../console/shell.ts';
import { WritError } from '../core/errors.ts';
import type { LongPoller } from '../core/long-poller.ts';
import { recheckPublished } from '../grants/recheck.ts';
import type { GrantDeps } from '../grants/request-grant.ts';
import { accessRequestOperations } from '../http/access-requests.ts';
import { actionOperations } from '../http/actions.ts';
import { type AdminDeps, adminOperations } from '../http/admin.ts';
import { createApp } from '../http/app.ts';
import { authzenOperations } from '../http/authzen.ts';
import { type AuthzenDeps, accessRequestsPath } from '../http/authzen-answers.ts';
import { authzenSearchOperations } from '../http/authzen-search.ts';
import { type BreakGlassOperationDeps, breakGlassOperations } from '../http/break-glass.ts';
import { candidateOperations } from '../http/candidates.ts';
import { capabilityOperations } from '../http/capabilities.ts';
import { type CibaDeps, cibaOperations, pollCiba } from '../http/ciba.ts';
import { createDenialTokens } from '../http/denial-token.ts';
import { diagnosisOperations } from '../http/diagnosis.ts';
import { discoveryOperations } from '../http/discovery.ts';
import { grantOperations } from '../http/grants.ts';
import type { HealthDeps } from '../http/health.ts';
import { type IntrospectionDeps, introspectionOperation } from '../http/introspection.ts';
import { lockOperations } from '../http/locks.ts';
import { loginOperations } from '../http/logins.ts';
import { type ManifestDeps, manifestOperations } from '../http/manifests.ts';
import { ownerOperations } from '../http/owner.ts';
import { preApprovalOperations } from '../http/pre-approvals.ts';
import type { Refusals } from '../http/refusals.ts';
import { noteRefusedRequest } from '../http/refused-request.ts';
import { replayOperations } from '../http/replay.ts';
import { revocationOperation } from '../http/revocation.ts';
import { sessionOperations } from '../http/session.ts';
import { sessionDoor } from '../http/session-door.ts';
import { signalOperations } from '../http/signals.ts';
import { streamOperations } from '../http/streams.ts';
import { type TokenEndpointDeps, tokenOperation } from '../http/token-endpoint.ts';
import { openKeyResolver } from '../identity/jwks.ts';
import { deriveKey } from '../keys/key-encryption-key.ts';
import { createSeal } from '../keys/seal.ts';
import { keyedMark } from '../leases/credential-marks.ts';
import type { LockDeps } from '../locks/set-lock.ts';
import { agreeToProposal, refuseProposal } from '../manifests/agree.ts';
import { authorizeAdmin, isBootstrap } from '../people/admin-access.ts';
import { type Identity, isApprover } from '../people/identity.ts';
import { type LoginDeps, loadLogin } from '../people/login.ts';
import type { OidcClient } from '../people/oidc.ts';
import { createRechecks } from '../people/recheck.ts';
import { isSameOrigin } from '../people/same-origin.ts';
import { signInRouter } from '../people/sign-in.ts';
import { createCandidates } from '../replay/candidates.ts';
import { createShadow } from '../replay/shadow.ts';
import type { EndSessionDeps } from '../sessions/end-session.ts';
import { unheardSeconds } from '../sessions/heartbeat.ts';
import { createSessionTokens } from '../sessions/session-token.ts';
import { takeOnce } from '../sessions/take-once.ts';
import { createWaiting } from '../streams/poll.ts';
import { breakGlassSettings } from './break-glass.ts';
import { callbackRules } from './callbacks.ts';
import { diagnoseDeps } from './diagnosis.ts';
import { grantAbout } from './grant-about.ts';
import { identityProvider } from './identity-provider.ts';
import type { Parts } from './parts.ts';
import { signalReceiver } from './signals.ts';

export interface ApiParts extends Parts {
  notify(): void;
  poller: LongPoller;
  refusals: Refusals;
  health: HealthDeps;
}

export interface Api {
  app: Express;
  /** Where people sign in; null = nowhere. */
  signIn: OidcClient | null;
  /** Starts what listens for people's answers by itself. */
  listen(): { stop(): Promise<void> };
}

/** Composes the API. Has no effect until the first request, or until it listens. */
export async function composeApi(parts: ApiParts): Promise<Api> {
  const { settings, trust, clock, log, store, kek, ring, url, shapes, catalog, health } = parts;
  const { notify, poller, refusals } = parts;
  const { mintDeadlineSeconds, toldOfEnds } = parts;
  const ending = { store, mintDeadlineSeconds, notify, toldOfEnds };
  const heartbeat = { seconds: settings.WRIT_HEARTBEAT_SECONDS, misses: settings.WRIT_HEARTBEAT_MISSES };
  const tokens = createSessionTokens(ring, clock, url, settings.WRIT_SESSION_TOKEN_SECONDS, unheardSeconds(heartbeat));
  const provider = await identityProvider(settings, url, clock);
  const login: LoginDeps = {
    store,
    clock,
    publicUrl: url,
    adminGroup: settings.WRIT_ADMIN_GROUP,
    loginSeconds: settings.WRIT_LOGIN_SECONDS,
    uncheckedSeconds: settings.WRIT_LOGIN_UNCHECKED_SECONDS,
    idleSeconds: settings.WRIT_LOGIN_IDLE_SECONDS,
    ...(settings.WRIT_OIDC_ISSUER === undefined
      ? {}
      : { idp: `${settings.WRIT_OIDC_ISSUER} ${settings.WRIT_OIDC_CLIENT_ID ?? ''}` }),
    ...(provider === null
      ? {}
      : {
          rechecks: createRechecks({
            store,
            clock,
            log,
            provider,
            seal: createSeal(deriveKey(kek, 'login-renewal')),
            seconds: settings.WRIT_LOGIN_RECHECK_SECONDS,
          }),
        }),
  };
  const maxSleepSeconds = settings.WRIT_SESSION_SLEEP_SECONDS;
  const maxGrantsPerSession = settings.WRIT_MAX_GRANTS_PER_SESSION;
  const requestId = (_req: Request, res: Response) => String(res.locals.requestId);
  const noteRefusal = (req: Request, res: Response, error: WritError) =>
    noteRefusedRequest(
      refusals,
      {
        method: req.method,
        route: String((req.route as { path?: unknown } | undefined)?.path ?? 'page'),
        address: req.ip,
        requestId: requestId(req, res),
        caller: null,
      },
      error,
    );
  const clockHolds = parts.clockGuard.holds;
  const web = { ...login, clockHolds, log, requestId, noteRefusal };
  const about = grantAbout(parts, settings.WRIT_APPROVAL_CHALLENGE === 'on');
  const digest = keyedDigest(deriveKey(kek, 'actions'));
  const mark = keyedMark(deriveKey(kek, 'credential-marks'));
  const passkeys = {
    passkeyKey: deriveKey(kek, 'passkeys'),
    once: (key: string, until: Date) => takeOnce(store, key, until),
  };
  const pages: PagesDeps = {
    ...web,
    ...about,
    onCall: parts.onCall,
    callArguments: (grantId, reader) =>
      argumentsUnderReview({ store, seal: parts.seal, digest, clock }, grantId, reader),
    redemptionSeconds: settings.WRIT_REDEEM_TIMEOUT_SECONDS,
    editorCoolingSeconds: settings.WRIT_EDITOR_COOLING_SECONDS,
    ...passkeys,
    challengeKey: deriveKey(kek, 'approval-challenges'),
    warnsHasty: settings.WRIT_APPROVAL_WARNING === 'on',
    poller,
    preApprovalSeconds: settings.WRIT_PRE_APPROVAL_SECONDS,
    signInIssuer: settings.WRIT_OIDC_ISSUER ?? null,
  };
  const oauth: TokenEndpointDeps & IntrospectionDeps & EndSessionDeps = {
    ...ending,
    refusals,
    clock,
    catalog,
    tokens,
    heartbeat,
    trust,
    issuer: url,
    keys: openKeyResolver({ clock }),
    redemptionSeconds: settings.WRIT_REDEEM_TIMEOUT_SECONDS,
    requireDpop: settings.WRIT_REQUIRE_DPOP,
    maxWallTimeSeconds: settings.WRIT_SESSION_MAX_SECONDS,
    sessionsPerMinute: settings.WRIT_SESSIONS_PER_MINUTE,
    maxGrantsPerSession,
    pollCiba: (asked) => pollCiba(ciba(), asked),
    adminOf: async (authorization) => ((await isBootstrap(store, authorization)) ? 'bootstrap token' : null),
  };
  const candidates = createCandidates(store, clock, shapes, (agent) =>
    log.warn({ agent }, 'the candidate manifest does not hold here, and decides nothing'),
  );
  const observer = createShadow({
    store,
    clock,
    digest,
    providers: parts.providers,
    candidates,
    log,
    registry: parts.registry,
  });
  const asking = {
    seal: parts.seal,
    publicUrl: url,
    approvalTimeoutSeconds: settings.WRIT_APPROVAL_TIMEOUT_SECONDS,
    ...(settings.WRIT_PASSKEY_APPROVAL_TIMEOUT_SECONDS === undefined
      ? {}
      : { passkeyTimeoutSeconds: settings.WRIT_PASSKEY_APPROVAL_TIMEOUT_SECONDS }),
    maxSleepSeconds,
    redemptionSeconds: settings.WRIT_REDEEM_TIMEOUT_SECONDS,
    askLimits: {
      requestsPerHour: settings.WRIT_APPROVAL_REQUESTS_PER_HOUR,
      cooldownSeconds: settings.WRIT_DENIAL_COOLDOWN_SECONDS,
    },
    noticeChannels: deliveringChannels(parts.channels).map(({ name }) => name),
  };
  const grants: GrantDeps = {
    ...parts,
    ...ending,
    ...asking,
    digest,
    mark,
    grantsPerMinute: settings.WRIT_GRANTS_PER_MINUTE,
    maxGrantsPerSession,
    noteRefusal: ({ id, agent }, payload, requestId) =>
      refusals.note(id, { chain: id, type: 'grant.refused', actor: agent, requestId, payload }),
    observer,
    preApproved: (grantId, request) =>
      usePreApprovals({ ...pages, ...asking }, grantId, request).catch((err) =>
        log.error({ err, grant: grantId }, 'what was approved ahead of time could not be used; people decide'),
      ),
  };
  const ciba = (): CibaDeps => ({ ...oauth, maxSleepSeconds, grants });
  const actions: ActionDeps = { ...ending, ...asking, clock, catalog, digest, mark, log, observer };
  const isAdmin = (groups: readonly string[]) =>
    settings.WRIT_ADMIN_GROUP !== undefined && groups.includes(settings.WRIT_ADMIN_GROUP);
  const admin: AdminDeps = { ...parts, ...ending, ring, keyLeadSeconds: settings.WRIT_KEY_LEAD_SECONDS };
  const locks: LockDeps = { ...ending, clock, providers: parts.providers };
  const breakGlass: BreakGlassOperationDeps = {
    ...breakGlassSettings(parts),
    ...ending,
    people: { isAdmin: (person) => isAdmin(person.groups), group: settings.WRIT_BREAK_GLASS_GROUP },
    ...passkeys,
    publicUrl: url,
    clockHolds,
  };
  const manifests: ManifestDeps = { ...parts, ...ending, shapes, review: settings.WRIT_MANIFEST_REVIEW };
  const denials = createDenialTokens(ring, clock, url, `${url}${accessRequestsPath}`);
  const authzen: AuthzenDeps = {
    actions,
    grants,
    denials,
    ring,
    issuer: url,
    callbackRules: callbackRules(settings),
    noteRefused: (refused, refusal) => noteRefusedRequest(refusals, refused, refusal),
  };
  const receiver = signalReceiver(parts, notify);
  const pushToken = settings.WRIT_SIGNALS_PUSH_TOKEN;
  const ownersOf = async (agent: string, version: number) => [
    (await catalog.version(agent, version)).compiled.manifest.owner,
  ];
  const mayStop = async (person: Identity, agent: string) => {
    if (isAdmin(person.groups)) return true;
    const current = await catalog.current(agent);
    return current !== null && isApprover(person, [current.compiled.manifest.owner]);
  };
  const signIn =
    provider === null
      ? [noSignInRouter(url, async (req) => (await loadLogin(login, req)) !== null)]
      : [
          signInRouter({
            ...web,
            ...passkeys,
            passkeySignInSeconds: settings.WRIT_PASSKEY_SIGN_IN_SECONDS,
            cookieKey: deriveKey(kek, 'sign-in-cookie'),
            provider,
          }),
        ];
  const app = createApp({
    ...health,
    clockHolds,
    refusals,
    publicUrl: url,
    log,
    version: await packageVersion(),
    trustProxy: settings.WRIT_TRUST_PROXY,
    requestsPerMinute: settings.WRIT_REQUESTS_PER_MINUTE,
    operations: [
      ...grantOperations({ ...grants, poller, maxSleepSeconds }),
      ...authzenOperations(authzen),
      ...authzenSearchOperations(actions),
      ...accessRequestOperations({ ...authzen, poller }),
      ...actionOperations({
        ...actions,
        ring,
        issuer: url,
        snapshotSeconds: settings.WRIT_SNAPSHOT_SECONDS,
      }),
      ...sessionOperations({
        ...ending,
        clock,
        catalog,
        tokens,
        heartbeat,
        poller,
        maxGrantsPerSession,
        maxSleepSeconds,
      }),
      ...capabilityOperations({ store, catalog, maxGrantsPerSession }),
      tokenOperation(oauth),
      introspectionOperation(oauth),
      revocationOperation(oauth),
      ...cibaOperations(ciba()),
      ...manifestOperations(manifests),
      ...adminOperations(admin),
      ...diagnosisOperations(diagnoseDeps(parts, provider)),
      ...lockOperations(locks),
      ...ownerOperations({ ...ending, ...locks, mayStop }),
      ...loginOperations({ ...login, signInIssuer: settings.WRIT_OIDC_ISSUER ?? null }),
      ...breakGlassOperations(breakGlass),
      ...preApprovalOperations(pages),
      ...replayOperations({ ...parts, digest }),
      ...candidateOperations({ ...parts, digest, candidates }),
      ...signalOperations(receiver === null || pushToken === undefined ? null : { ...receiver, pushToken, refusals }),
      ...streamOperations({ ...parts, issuer: url, waiting: createWaiting(store) }),
      ...discoveryOperations(url, ring, settings.WRIT_REQUIRE_DPOP),
    ],
    pages: [
      assetsRouter(),
      ...signIn,
      ...parts.channels.flatMap((channel) => channel.router?.(pages) ?? []),
      consoleRouter({
        ...web,
        approversOf: about.approversOf,
        onCall: parts.onCall,
        waitingFor: (person) => waitingFor(parts.channels, pages, person),
        ownersOf,
        isAdmin: (person) => isAdmin(person.groups),
        mayStop,
        locks,
        breakGlass,
        ending,
      }),
      passkeysRouter({
        ...web,
        ...passkeys,
        isAdmin: (person) => isAdmin(person.groups),
        signInIssuer: settings.WRIT_OIDC_ISSUER ?? null,
      }),
      breakGlassRouter({ ...web, breakGlass }),
      locksRouter({ ...web, locks, isAdmin: (person) => isAdmin(person.groups) }),
      loginsRouter({
        ...web,
        isAdmin: (person) => isAdmin(person.groups),
        signInIssuer: settings.WRIT_OIDC_ISSUER ?? null,
      }),
      manifestPagesRouter({
        ...web,
        ownersOf,
        isAdmin: (person) => isAdmin(person.groups),
        shapes,
        ownerGraceSeconds: settings.WRIT_OWNER_GRACE_SECONDS,
        agree: async (proposal) => {
          const { agent } = await agreeToProposal(store, clock, shapes, proposal);
          await recheckPublished(manifests, agent);
        },
        refuse: (proposal) => refuseProposal(store, clock, proposal),
      }),
    ],
    door: sessionDoor({ store, clock, tokens, refusals, url, heartbeat }),
    authorizeAdmin: async (req) => {
      const person = await loadLogin(login, req);
      return authorizeAdmin(
        store,
        { authorization: req.get('authorization'), safe: req.method === 'GET' },
        person === null ? null : { identity: person.identity, mayAct: isSameOrigin(url, req) },
        settings.WRIT_ADMIN_GROUP,
      );
    },
    authorizePerson: async (req) => {
      const person = await loadLogin(login, req);
      if (req.get('authorization') !== undefined || person === null) throw new WritError('unauthenticated');
      // The cookie travels by itself; a change must come from our own origin (or from no browser at all).
      if (req.method !== 'GET' && !isSameOrigin(url, req))
        throw new WritError('forbidden', { detail: 'Changes must come from the console’s own origin.' });
      return { identity: person.identity, loginId: person.id };
    },
  });
  return {
    app,
    signIn: provider,
    listen: () => {
      const listening = parts.channels.flatMap((channel) => channel.listen?.(pages) ?? []);
      return { stop: async () => void (await Promise.all(listening.map(({ stop }) => stop()))) };
    },
  };
}

/** The pending reviews of this person, from the first channel that shows any. */
async function waitingFor(channels: Parts['channels'], pages: PagesDeps, person: Identity) {
  for (const channel of channels) {
    const waiting = (await channel.waitingFor?.(pages, person)) ?? null;
    if (waiting !== null) return waiting;
  }
  return null;
}

async function packageVersion(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../../package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
