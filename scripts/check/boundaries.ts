/**
 * Who may import whom (docs/architecture.md, rooms). The rules are data, read top to bottom; a file is held
 * to every rule whose `files` matches it. `$1` in a pattern stands for what the first group of `files`
 * matched (the provider's or channel's own folder).
 */
import type { Part } from './part.ts';
import { readSources, type Source } from './sources.ts';

export interface Rule {
  name: string;
  why: string;
  files: RegExp;
  except?: RegExp;
  /** A rule is about code unless it says that it is about what only tests use. */
  about?: 'code' | 'tests';
  /** Our own files that may be imported; anything else of ours is a fault. */
  only?: string;
  /** Our own files that must not be imported. */
  never?: string;
  /** Packages and `node:` modules that may be imported; anything else is a fault. */
  onlyPackages?: string;
  /** Packages and `node:` modules that must not be imported. */
  neverPackages?: string;
}

/** Tests, and what only they use. */
export const forTests = /\.(test|test-support)\.ts$|^(providers|approvals)\/conformance\.ts$/;

export const rules: Rule[] = [
  {
    name: 'code-stands-without-its-tests',
    why: 'what runs in production must not lean on tests',
    files: /./,
    except: /^scripts\/test(-elsewhere)?\.ts$/,
    never: forTests.source,
  },
  {
    name: 'vocabulary-is-the-ground',
    why: 'every folder imports the words, so they can stand on nothing but the reasons and the contract that providers share',
    files: /^broker\/core\/vocabulary\.ts$/,
    only: '^(providers/contract|broker/core/reasons)\\.ts$',
  },
  {
    name: 'core-stands-on-itself',
    why: 'errors, ids, clock and log are under every room, so they know none',
    files: /^broker\/core\//,
    only: '^broker/core/|^providers/contract\\.ts$',
  },
  {
    name: 'decide-sees-no-credential',
    why: 'what decides must not be able to mint, deliver or read a credential (invariant 2)',
    files: /^broker\/decide\//,
    never:
      '^(providers|approvals)/|^broker/(leases|grants|sessions|http|console|people|worker|compose|actions|main|config)',
    neverPackages:
      '^(@aws-sdk|@octokit|@google-cloud)/|^(google-auth-library|pg|bullmq|express)$|^node:(net|tls|https?|http2|dgram|child_process)$',
  },
  {
    name: 'cases-run-without-a-broker',
    why: 'whoever writes a manifest runs its cases where no broker is, through the decisions alone',
    files: /^broker\/cases\//,
    only: '^broker/(cases|core|decide|manifests)/|^broker/actions/(cells|evaluate-call|origin|outcome|rebuild|returned-words|rules)\\.ts$',
    onlyPackages: '^zod$',
  },
  {
    name: 'leases-decide-nothing',
    why: 'what delivers acts on a signed decision, and can neither make one nor ask for one (invariant 2)',
    files: /^broker\/leases\//,
    never:
      '^broker/(decide/(decide|facts|nearest|policy-slots)\\.ts|grants/(?!transitions\\.ts$)|sessions/(?!(counts|live-session)\\.ts$)|manifests/)|^approvals/',
    neverPackages: '^@cedar-policy/',
  },
  {
    name: 'the-tail-is-written-once',
    why: 'a decision is signed and a lease minted in issue-grant.ts alone, for asking and redeeming alike',
    files: /^broker\/grants\//,
    except: /^broker\/grants\/issue-grant\.ts$/,
    never: '^broker/leases/issue\\.ts$|^broker/decide/sign-decision\\.ts$',
  },
  {
    name: 'people-are-no-workloads',
    why: 'people sign in, workloads prove themselves with tokens and keys: neither may pass for the other',
    files: /^broker\/(people|identity)\//,
    never: '^broker/(?!$1/)(people|identity)/',
  },
  {
    name: 'passkeys-know-no-page',
    why: 'what a passkey signs for is known by whoever asks for it: pages and reviews call the door, never the reverse',
    files: /^broker\/people\/passkeys\//,
    only: '^broker/(people|core|store|audit)/',
  },
  {
    name: 'main-is-the-process',
    why: 'what a broker is made of is composed in one place, for production and tests alike',
    files: /^broker\/main\.ts$/,
    only: '^broker/(compile-cache|compose/start|config/settings)\\.ts$',
  },
  {
    name: 'mints-are-sent-once',
    why: 'packages that cache or repeat requests could hide a mint or make a second one',
    files: /^providers\/github\//,
    neverPackages: '^@octokit/(auth-app|request|plugin-retry|plugin-throttling)$',
  },
  {
    name: 'a-provider-knows-its-contract',
    why: 'a provider holds no database, no policy and no other provider',
    files: /^providers\/([^/]+)\//,
    except: /^providers\/postgres\//,
    only: '^providers/$1/|^providers/(contract|answer-[a-z]+)\\.ts$',
    neverPackages: '^(pg|bullmq|express)$|^(@prisma|@cedar-policy)/',
  },
  {
    name: 'the-postgresql-provider-speaks-to-its-target',
    why: 'its target is a database: it has the driver, and how PostgreSQL stores a password, and still nothing of the broker’s own database',
    files: /^providers\/postgres\//,
    only: '^providers/postgres/|^providers/(contract|answer-[a-z]+)\\.ts$|^broker/core/scram-verifier\\.ts$',
    neverPackages: '^(bullmq|express)$|^(@prisma|@cedar-policy)/',
  },
  {
    name: 'a-provider-test-knows-its-counterpart',
    why: 'a provider is tested against the contract and its counterpart, not against the broker',
    files: /^providers\/([^/]+)\//,
    about: 'tests',
    only: '^providers/$1/|^providers/(contract|conformance|answer-[a-z]+)\\.ts$|^broker/core/(vocabulary|clock)\\.ts$|^sandbox/',
  },
  {
    name: 'the-contract-knows-no-provider',
    why: 'it serves every provider alike',
    files: /^providers\/contract\.ts$/,
    only: '^$',
  },
  {
    name: 'conformance-knows-no-provider',
    why: 'it holds every provider to the same',
    files: /^providers\/conformance\.ts$/,
    about: 'tests',
    only: '^providers/contract\\.ts$|^broker/core/(vocabulary|clock)\\.ts$',
  },
  {
    name: 'the-registry-is-a-list',
    why: 'a provider is added by one line there, and by nothing else',
    files: /^providers\/registry\.ts$/,
    only: '^providers/',
  },
  {
    name: 'parameters-come-without-their-provider',
    why: 'the command checks manifests against them where no provider, broker or SDK is installed',
    files: /^providers\/params\.ts$/,
    only: '^providers/[^/]+/params\\.ts$',
    onlyPackages: '^$',
  },
  {
    name: 'plans-come-without-their-settings',
    why: 'the command asks for plans where no provider, broker or SDK is installed, and nothing may be asked of anybody',
    files: /^providers\/any-settings\.ts$/,
    only: '^providers/(params|plan-fault|contract)\\.ts$|^providers/[^/]+/(any-settings|params)\\.ts$',
    onlyPackages: '^$',
  },
  {
    name: 'a-plan-without-settings-calls-nobody',
    why: 'what it reaches is installed with the command: parameters, plans and settings, no SDK',
    files: /^providers\/[^/]+\/any-settings\.ts$/,
    only: '^providers/contract\\.ts$|^providers/[^/]+/(params|permission|plan|session-policy|settings)\\.ts$',
    onlyPackages: '^$',
  },
  {
    name: 'reviews-know-no-channel',
    why: 'a channel carries a review to where it is decided; what decides it, and what tells of it, depends on no channel',
    files: /^approvals\/[^/]+\.ts$/,
    except: /^approvals\/registry\.ts$/,
    never: '^approvals/[^/]+/|^approvals/registry\\.ts$',
  },
  {
    name: 'the-channel-registry-is-a-list',
    why: 'a channel is added by one line there, and by nothing else',
    files: /^approvals\/registry\.ts$/,
    only: '^approvals/contract\\.ts$|^approvals/[^/]+/index\\.ts$',
  },
  {
    name: 'channel-conformance-knows-no-channel',
    why: 'it holds every channel to the same',
    files: /^approvals\/conformance\.ts$/,
    about: 'tests',
    only: '^approvals/contract\\.ts$',
  },
  {
    name: 'approvals-touch-no-credential',
    why: 'an approval is a row that the grants flow acts on, never a call into it',
    files: /^approvals\//,
    never:
      '^providers/(?!contract\\.ts$)|^broker/(leases|grants/(?!(transitions|quorum|narrow-plan|proven-(?:grant|review))\\.ts$)|worker|compose|main)',
  },
  {
    name: 'a-channel-stands-alone',
    why: 'a channel shows, tells and forwards reviews: it knows its contract, the review, the routes and what was decided, no other channel and no outbox',
    files: /^approvals\/([^/]+)\//,
    only: '^approvals/$1/|^approvals/(contract|review|eligibility|routes|bounds|decided|digest-words|(give|withdraw)-pre-approval|read-pre-approvals)\\.ts$|^broker/(core|store|console|people|keys)/|^broker/sessions/live-session\\.ts$',
  },
  {
    name: 'only-compose-composes',
    why: 'which providers and channels exist is known in one place',
    files: /^broker\//,
    except: /^broker\/(compose|cli)\//,
    never: '^(providers|approvals)/([^/]+/|registry\\.ts$)',
  },
  {
    name: 'the-broker-stands-without-its-sandbox',
    why: 'what runs in production must not lean on counterparts or tools',
    files: /^(broker|providers|approvals)\//,
    never: '^(sandbox|scripts)/|^client/(?!cli/)',
  },
  {
    name: 'only-the-operator-command-extends-the-command',
    why: 'where the broker runs, `writ` is the agent’s command and a little more; the broker itself needs none',
    files: /^(broker|providers|approvals)\//,
    except: /^broker\/cli\//,
    never: '^client/cli/',
  },
  {
    name: 'the-worker-holds-no-sql',
    why: 'a job calls the room that owns the rows; the worker knows when, never what',
    files: /^broker\/worker\//,
    never: '^broker/store/|^approvals/',
  },
  {
    name: 'http-is-the-top',
    why: 'data flows http → sessions → grants → decide → leases → providers',
    files:
      /^broker\/(sessions|identity|grants|decide|leases|worker|audit|manifests|actions|replay|store|keys|config|core)\//,
    never: '^broker/(http|console|people/(?!identity\\.ts$)|compose|main)',
  },
  {
    name: 'a-signal-only-ends',
    why: 'what an identity provider signals ends logins, approvals, break-glasses and sessions: it can decide, open and mint nothing',
    files: /^broker\/signals\//,
    only: '^broker/(signals|core|store|audit|identity)/|^broker/people/(account-names|sign-off)\\.ts$|^broker/sessions/end-session\\.ts$|^broker/break-glass/end-of-person\\.ts$|^broker/grants/transitions\\.ts$|^approvals/(notices|pre-approval-transitions|incidents)\\.ts$|^broker/manifests/owner-marks\\.ts$',
  },
  {
    name: 'a-diagnosis-only-asks',
    why: 'whoever asks how things stand must not be able to decide, open, mint or end anything by it',
    files: /^broker\/diagnose\//,
    only: '^broker/(diagnose|core|store|manifests)/|^broker/(keys/ring|people/oidc)\\.ts$|^(providers|approvals)/contract\\.ts$',
  },
  {
    name: 'a-stream-only-tells',
    why: 'what Writ signals to others is read from what has happened: it can end, decide, open and mint nothing, and knows nothing of what is signalled to Writ',
    files: /^broker\/streams\//,
    only: '^broker/(streams|core|store|audit|keys)/|^broker/locks/(stored-lock|under-lock)\\.ts$|^broker/sessions/proven-session\\.ts$|^broker/manifests/owner-marks\\.ts$',
  },
  {
    name: 'what-decides-knows-no-replay',
    why: 'a candidate decides beside, after the answer: nothing that decides may ask it',
    files: /^broker\/(?!(replay|http|compose)\/)/,
    never: '^broker/replay/',
  },
  {
    name: 'the-store-is-the-bottom',
    why: 'the store runs statements; it knows nobody who writes them',
    files: /^broker\/store\//,
    never:
      '^broker/(sessions|identity|people|manifests|decide|grants|leases|worker|actions|audit|http|console|compose|main|config|keys)|^(providers|approvals)/',
  },
  {
    name: 'the-client-is-a-package-of-its-own',
    why: 'an agent installs it without the broker',
    files: /^client\/(?!cli\/)/,
    only: '^client/(?!cli/)',
    onlyPackages: '^jose$|^node:',
  },
  {
    name: 'the-sdk-holds-no-session-for-others',
    why: 'the local process and what asks it are the command’s; a program that imports the client brings none of it',
    files: /^client\/[^/]+$/,
    never: '^client/.+/',
  },
  {
    name: 'the-local-process-knows-no-host',
    why: 'whatever asks for tool calls reaches it in the same way',
    files: /^client\/local\//,
    only: '^client/(local/|[^/]+$)',
  },
  {
    name: 'a-hook-loads-little',
    why: 'it is a process for each tool call of a coding agent, and asks the local process for everything',
    files: /^client\/hook\//,
    only: '^client/(hook/|local/connect\\.ts$|(clock|decision|errors|text|wait)\\.ts$)',
  },
  {
    name: 'the-guard-reaches-sessions-one-way',
    why: 'it asks whoever holds the session, and holds neither key nor token',
    files: /^client\/guard\//,
    only: '^client/guard/|^client/local/(host-session|lines|recent)\\.ts$|^client/(clock|coaz|decision|errors)\\.ts$',
  },
  {
    name: 'the-command-is-a-package-of-its-own',
    why: 'it is installed without the broker, of which it has the reading of manifests and of the record',
    files: /^client\/cli\//,
    only: '^client/(cli|local|guard|hook)/|^client/index\\.ts$|^broker/(core/near-name\\.ts$|cases/|manifests/(read|compile|manifest|diff(-change)?)\\.ts$|audit/(verify|checkpoint-format)\\.ts$)|^providers/any-settings\\.ts$',
    onlyPackages: '^pg$|^node:',
  },
  {
    name: 'the-sandbox-is-the-other-side',
    why: 'a counterpart that shares code with the broker shares its mistakes, and its tests would prove nothing',
    files: /^sandbox\/(?!example\/)/,
    only: '^sandbox/|^broker/core/(vocabulary|clock)\\.ts$',
  },
  {
    name: 'the-example-is-an-agent',
    why: 'an agent has the client and the clouds’ own SDKs, and nothing of the broker’s',
    files: /^sandbox\/example\//,
    only: '^(sandbox/example|client)/',
  },
];

/** Every import that breaks a rule, one line each. */
export function boundaryFaults(sources: Source[], held: Rule[] = rules): string[] {
  return sources.flatMap((source) =>
    held.flatMap((rule) => {
      const matched = rule.files.exec(source.path);
      const about = forTests.test(source.path) ? 'tests' : 'code';
      if (matched === null || about !== (rule.about ?? 'code') || rule.except?.test(source.path)) return [];
      const pattern = (text: string | undefined) =>
        text === undefined ? null : new RegExp(text.replaceAll('$1', matched[1] ?? ''));
      const [only, never] = [pattern(rule.only), pattern(rule.never)];
      const [onlyPackages, neverPackages] = [pattern(rule.onlyPackages), pattern(rule.neverPackages)];
      return source.imports
        .filter(({ specifier, target }) => {
          if (specifier === null) return false;
          if (target !== null) return only?.test(target) === false || never?.test(target) === true;
          return onlyPackages?.test(specifier) === false || neverPackages?.test(specifier) === true;
        })
        .map(({ specifier, line }) => `${source.path}:${line}: imports ${specifier} (${rule.name}: ${rule.why})`);
    }),
  );
}

/** A name that is computed cannot be held to any rule, so code may not import by one. */
export function computedImports(sources: Source[]): string[] {
  return sources
    .filter(({ path }) => !forTests.test(path) && !path.startsWith('scripts/'))
    .flatMap(({ path, imports }) =>
      imports
        .filter(({ specifier }) => specifier === null)
        .map(({ line }) => `${path}:${line}: imports a computed name, which no rule can be held against`),
    );
}

/** Every ring of files that import each other, once, in the order of import. */
export function cycles(sources: Source[]): string[] {
  const edges = new Map(sources.map(({ path, imports }) => [path, imports.flatMap(({ target }) => target ?? [])]));
  const finished = new Set<string>();
  const found: string[] = [];
  const walk = (path: string, trail: string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) {
      found.push(`import cycle: ${[...trail.slice(at), path].join(' → ')}`);
      return;
    }
    if (finished.has(path)) return;
    for (const next of edges.get(path) ?? []) walk(next, [...trail, path]);
    finished.add(path);
  };
  for (const path of edges.keys()) walk(path, []);
  return found;
}

export const boundaries: Part = {
  name: 'import boundaries',
  run: async (root) => {
    const sources = readSources(root);
    return {
      faults: [...boundaryFaults(sources), ...computedImports(sources), ...cycles(sources)],
      notes: [`${sources.length} files held to ${rules.length} rules`],
    };
  },
};
