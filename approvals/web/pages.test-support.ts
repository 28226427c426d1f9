/**
 * The people's side of a broker on loopback, for tests: every page over real HTTP, on a database in memory,
 * on a clock moved by hand.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { consoleRouter } from '../../broker/console/console.ts';
import { locksRouter } from '../../broker/console/locks.ts';
import { loginsRouter } from '../../broker/console/logins.ts';
import { type ManifestPagesDeps, manifestPagesRouter } from '../../broker/console/manifests.ts';
import { passkeysRouter } from '../../broker/console/passkeys.ts';
import { assetsRouter } from '../../broker/console/shell.ts';
import { manualClock, systemClock } from '../../broker/core/clock.ts';
import { createLongPoller } from '../../broker/core/long-poller.ts';
import { batchProvider } from '../../broker/core/questions.ts';
import type { JsonObject, Plan, PlanDescription } from '../../broker/core/vocabulary.ts';
import { describeQuestion } from '../../broker/grants/question.ts';
import { createSeal } from '../../broker/keys/seal.ts';
import { agreeToProposal, refuseProposal } from '../../broker/manifests/agree.ts';
import { createCatalog } from '../../broker/manifests/catalog.ts';
import { exampleProviders } from '../../broker/manifests/example.test-support.ts';
import { type Identity, isApprover } from '../../broker/people/identity.ts';
import type { LoginMethod } from '../../broker/people/login-method.ts';
import { type OidcSettings, oidcClient } from '../../broker/people/oidc.ts';
import { createRechecks } from '../../broker/people/recheck.ts';
import { signInRouter } from '../../broker/people/sign-in.ts';
import { signedIn } from '../../broker/people/signed-in.test-support.ts';
import { takeOnce } from '../../broker/sessions/take-once.ts';
import type { Store } from '../../broker/store/open.ts';
import { openTestStore } from '../../broker/store/store.test-support.ts';
import type { GrantAbout } from '../contract.ts';
import { start } from '../rows.test-support.ts';
import { approvalsRouter, waitingTableFor } from './approvals.ts';

export interface Harness {
  url: string;
  store: Store;
  clock: ReturnType<typeof manualClock>;
  /** What the provider and the manifest say on the page; tests replace it. */
  description: PlanDescription;
  /** In place of it, where it hangs on the plan; null = not. */
  describe: ((plan: Plan) => PlanDescription) | null;
  about: GrantAbout;
  /** Whether an approval that is too fast must be confirmed; most tests are no readers. */
  warns: boolean;
  /** As in `LoginDeps`: how long a browser may be idle, and under which configuration logins stand. */
  idleSeconds: number | undefined;
  idp: string | undefined;
  /** Lines that the pages logged. */
  logged: string[];
  /** A browser in which the person is signed in already, without the identity provider. */
  /** As a broker does that stops. */
  stopWaiting(): void;
  signedIn(identity: Identity, method?: LoginMethod): Promise<{ cookie: string; csrf: string }>;
  close(): Promise<void>;
}

/**
 * @param oidc where people sign in; a test that does not sign in leaves it out
 * @param host `localhost` where passkeys are used: they belong to a name
 */
export async function openHarness(
  oidc?: (publicUrl: string) => OidcSettings | Promise<OidcSettings>,
  host: 'localhost' | '127.0.0.1' = '127.0.0.1',
): Promise<Harness> {
  const store = await openTestStore();
  const clock = manualClock(start);
  const app = express();
  // As the broker's own: no connection is closed under a request that a busy machine sends late.
  const server = createServer({ keepAliveTimeout: 75_000 }, app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const publicUrl = `http://${host}:${(server.address() as AddressInfo).port}`;
  const logged: string[] = [];
  const log = (fields: object, message: string) =>
    void logged.push(`${message} ${JSON.stringify(fields)} ${String((fields as { err?: unknown }).err)}`);
  const harness: Harness = {
    url: publicUrl,
    store,
    clock,
    logged,
    describe: null,
    description: {
      summary: ['Read objects under customers/42/ in the S3 bucket orders'],
      revocability: {
        kind: 'eventual',
        text: 'Writ denies it at AWS within seconds of the session’s end; AWS itself ends it after 15 minutes.',
      },
    },
    about: { owner: 'team:billing' },
    warns: false,
    idleSeconds: undefined,
    idp: undefined,
    signedIn: (identity, method) => signedIn(store, identity, clock.now(), method),
    stopWaiting: () => poller.close(),
    close: async () => {
      poller.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await store.close();
    },
  };
  const settings = (await oidc?.(publicUrl)) ?? {
    issuer: 'https://login.example',
    clientId: 'writ',
    groupsClaim: 'groups',
    aliasClaims: [],
    allowInsecureLoopback: false,
  };
  const provider = oidcClient(settings, publicUrl, clock);
  // Looks often, and waits by the test's clock.
  const poller = createLongPoller({ now: () => clock.now(), sleep: (_ms, signal) => systemClock.sleep(20, signal) });
  const deps = {
    store,
    clock,
    poller,
    publicUrl,
    channel: 'web',
    provider,
    rechecks: createRechecks({
      store,
      clock,
      provider,
      seal: createSeal(randomBytes(32)),
      seconds: 900,
      log: { warn: log },
    }),
    cookieKey: randomBytes(32),
    passkeyKey: randomBytes(32),
    challengeKey: randomBytes(32),
    describePlan: (asked: Plan) =>
      (asked.provider === batchProvider ? describeQuestion(asked) : null) ??
      harness.describe?.(asked) ??
      harness.description,
    passkeySignInSeconds: 43_200,
    approversOf: async () => ['team:billing', 'user:storage@example.com'],
    aboutGrant: async () => harness.about,
    callArguments: async () => null,
    ownersOf: async () => ['team:billing'],
    isAdmin: (person: Identity) => person.groups.includes('writ-admins'),
    get idleSeconds() {
      return harness.idleSeconds;
    },
    get idp() {
      return harness.idp;
    },
    get warnsHasty() {
      return harness.warns;
    },
    redemptionSeconds: 300,
    editorCoolingSeconds: 86_400,
    canNarrow: () => true,
    // As a provider would plan what is left; how it does is the providers' conformance.
    narrowPlan: (
      { plan }: { plan: Plan },
      leftOut: readonly string[],
      lowered: { readonly [pointer: string]: string },
    ) => ({
      ...plan,
      permission: { ...plan.permission, without: [...leftOut], lowered: { ...lowered } },
    }),
    levelsOf: ({ params }: { params: JsonObject }) =>
      params.prefix === undefined
        ? []
        : [
            { pointer: '/access', name: 'access', now: 'read', steps: [{ key: 'list', text: 'list' }] },
            { pointer: '/prefix', name: 'prefix in <b>orders</b>', now: 'a/', begins: 'a/' },
          ],
    termsOf: async () => ({
      digest: 'sha256:terms',
      tier: 2,
      challenged: harness.about.challenged ?? false,
      from: ['team:billing', 'user:storage@example.com'],
      maxTtlSeconds: 900,
    }),
    preApprovalSeconds: 30 * 86_400,
    once: (key: string, until: Date) => takeOnce(store, key, until),
    signInIssuer: 'https://login.example',
    log: { warn: log, error: log },
    requestId: () => 'req_test',
  };
  const locks = { store, clock, providers: new Map(), mintDeadlineSeconds: 30, toldOfEnds: [], notify: () => {} };
  const waitingFor = (person: Identity) => waitingTableFor(deps, person);
  const proposals: Pick<ManifestPagesDeps, 'shapes' | 'agree' | 'refuse'> = {
    shapes: exampleProviders,
    agree: async (proposal) => void (await agreeToProposal(store, clock, exampleProviders, proposal)),
    refuse: (proposal) => refuseProposal(store, clock, proposal),
  };
  app.use(
    assetsRouter(),
    signInRouter(deps),
    approvalsRouter(deps),
    consoleRouter({
      ending: { store, mintDeadlineSeconds: 30, toldOfEnds: [], notify: () => {} },
      ...deps,
      breakGlass: {
        store,
        clock: deps.clock,
        catalog: createCatalog(store),
        people: { isAdmin: () => false, group: undefined },
        reviewSeconds: 3600,
      },
      waitingFor,
      locks,
      mayStop: async (person) => deps.isAdmin(person) || isApprover(person, await deps.ownersOf()),
    }),
    locksRouter({ ...deps, locks }),
  );
  app.use(passkeysRouter(deps), loginsRouter(deps));
  app.use(manifestPagesRouter({ ownerGraceSeconds: 259_200, ...deps, ...proposals }));
  return harness;
}
