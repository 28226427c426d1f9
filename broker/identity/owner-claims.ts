/**
 * Which claims pin who owns a workload, by kind of issuer. Issuers such as GitHub's serve everybody: any
 * repository there has a `ref` called main, and may call a public reusable workflow (`job_workflow_ref`). So
 * a binding must hold one of these claims, with a rule that provably fits one owner's alone.
 */
import { anyCharacter, type TextEnd, type TextEnds } from './pattern-ends.ts';
import type { IssuerKind } from './trust-schema.ts';

interface OwnerClaim {
  path: readonly string[];
  /** What every fitting value must begin with, or end with where `by` says so. */
  pins(end: TextEnd): boolean;
  by?: 'finishes';
}

// An owner is all of a value, or what stands before a delimiter: `octo` also begins `octopus`, of a stranger.
const exactly = ({ text, whole }: TextEnd) => whole && text !== '';
const segmentBefore = (delimiter: string) => (end: TextEnd) => exactly(end) || end.text.indexOf(delimiter) > 0;
/** @param form of the owner and the delimiter after it */
const begins = (form: RegExp) => (end: TextEnd) => form.test(end.text);

const claim = (name: string, pins: OwnerClaim['pins'] = exactly): OwnerClaim => ({ path: [name], pins });
const nested = (path: string[], pins: OwnerClaim['pins'] = exactly): OwnerClaim => ({ path, pins });

const ownerClaims: { [kind in Exclude<IssuerKind, 'generic'>]: OwnerClaim[] } = {
  // An organisation may give `sub` another form: `repository_owner:octo:…`.
  github_actions: [
    claim('repository_id'),
    claim('repository_owner_id'),
    claim('enterprise_id'),
    claim('repository_owner'),
    claim('repository', ({ text }) => text.indexOf('/') > 0),
    claim(
      'sub',
      begins(
        /^((repo|repository):[^/:*]+\/|(repository_id|repository_owner_id|enterprise_id):[0-9]+:|repository_owner:[^:]+:)/,
      ),
    ),
  ],
  gitlab: [
    claim('project_id'),
    claim('namespace_id'),
    claim('namespace_path', segmentBefore('/')),
    claim('project_path', ({ text }) => text.indexOf('/') > 0),
    claim('sub', begins(/^project_path:[^/:]+\//)),
  ],
  buildkite: [
    claim('organization_id'),
    claim('organization_slug'),
    claim('pipeline_id'),
    claim('cluster_id'),
    claim('sub', begins(/^organization:[^:]+:/)),
  ],
  terraform: [
    claim('terraform_organization_id'),
    claim('terraform_organization_name'),
    claim('terraform_project_id'),
    claim('terraform_workspace_id'),
    claim('sub', begins(/^organization:[^:]+:/)),
  ],
  vercel: [claim('owner_id'), claim('project_id'), claim('owner'), claim('sub', begins(/^owner:[^:]+:/))],
  entra: [
    claim('oid'),
    claim('sub'),
    claim('azp'),
    claim('appid'),
    claim('xms_mirid', begins(/^\/subscriptions\/[^/]+\//)),
  ],
  kubernetes: [
    claim('sub', begins(/^system:serviceaccount:[^:]+:/)),
    nested(['kubernetes.io', 'namespace']),
    nested(['kubernetes.io', 'serviceaccount', 'uid']),
    // Tokens from Secrets, which older clusters made.
    claim('kubernetes.io/serviceaccount/namespace'),
    claim('kubernetes.io/serviceaccount/service-account.uid'),
  ],
  gcp: [
    claim('sub'),
    claim('email'),
    { ...claim('email', begins(/@[a-z][^@]*\.iam\.gserviceaccount\.com$/)), by: 'finishes' },
    claim('hd'),
    nested(['google', 'compute_engine', 'project_id']),
    nested(['google', 'compute_engine', 'project_number']),
  ],
  spiffe: [claim('sub', beginsBelowTrustDomain)],
  circleci: [
    claim('oidc.circleci.com/project-id'),
    claim('oidc.circleci.com/vcs-origin', begins(/^[^/]+\/[^/]+\//)),
    claim('sub', begins(/^org\/[^/]+\//)),
  ],
  bitbucket: [
    claim('workspaceUuid'),
    claim('repositoryUuid'),
    claim('deploymentEnvironmentUuid'),
    claim('sub', begins(/^\{[^{}]+\}:/)),
  ],
};

/**
 * Dots of the domain are rarely escaped, and of a trust domain the issuer alone has the keys: they may be any
 * character there. Below it they may not, nor may SPIRE's `/ns/` stand for all namespaces.
 */
function beginsBelowTrustDomain({ text, whole }: TextEnd): boolean {
  const path = /^spiffe:\/\/[a-z0-9_-]+(?:[.\0][a-z0-9_-]+)*\/(.+)$/s.exec(text)?.[1];
  if (path === undefined) return false;
  if (whole && !path.includes(anyCharacter)) return true;
  return /^(ns\/[^/\0]+|(?!ns\/)[^/\0]+)\//.test(path);
}

/** Issuers whose kind their address tells. */
const wellKnown: [RegExp, IssuerKind][] = [
  [/^https:\/\/token\.actions\.(githubusercontent\.com|[^/]+\.ghe\.com)(\/|$)/, 'github_actions'],
  // GitHub Enterprise Server, on whatever host.
  [/^https:\/\/[^/]+\/_services\/token(\/|$)/, 'github_actions'],
  [/^https:\/\/gitlab\.com(\/|$)/, 'gitlab'],
  [/^https:\/\/agent\.buildkite\.com(\/|$)/, 'buildkite'],
  [/^https:\/\/app(\.[a-z0-9-]+)?\.terraform\.io(\/|$)/, 'terraform'],
  [/^https:\/\/oidc\.vercel\.com(\/|$)/, 'vercel'],
  [
    /^https:\/\/(login|sts)\.(microsoftonline\.(com|us|de)|(partner\.microsoftonline|chinacloudapi)\.cn)(\/|$)/,
    'entra',
  ],
  [/^https:\/\/sts\.windows\.net(\/|$)/, 'entra'],
  // EKS, in whatever partition; GKE; AKS and Azure Arc; OpenShift on AWS; a cluster's own default.
  [/^https:\/\/oidc[.-]eks\.[^/]+\/id\//, 'kubernetes'],
  [/^https:\/\/container\.googleapis\.com(\/|$)/, 'kubernetes'],
  [/^https:\/\/[^/]+\.oic\.[a-z0-9-]+\.azure\.(com|us|cn)(\/|$)/, 'kubernetes'],
  [/^https:\/\/(oidc\.[a-z0-9]+\.openshiftapps\.com|rh-oidc\.s3\.[a-z0-9.-]+)(\/|$)/, 'kubernetes'],
  [/^https:\/\/kubernetes\.default(\.svc(\.[^/]+)?)?(\/|$)/, 'kubernetes'],
  [/^https:\/\/accounts\.google\.com(\/|$)/, 'gcp'],
  [/^https:\/\/oidc\.circleci\.com(\/|$)/, 'circleci'],
  [/^https:\/\/api\.bitbucket\.org(\/|$)/, 'bitbucket'],
  [/^spiffe:/, 'spiffe'],
];

/** The kind of an issuer that everybody knows; undefined for any other. */
export function wellKnownKind(issuer: string): IssuerKind | undefined {
  return wellKnown.find(([form]) => form.test(issuer))?.[1];
}

const envelopeClaims = new Set(['iss', 'aud', 'exp', 'iat', 'nbf', 'jti']);
/** What says how, when or by whom something runs, at many issuers, and never whose it is. */
const howNotWhose = new Set(
  [
    'ref ref_name ref_type ref_path ref_protected head_ref base_ref branch branchName build_branch tag sha build_commit',
    'oidc.circleci.com/vcs-ref oidc.circleci.com/ssh-rerun',
    'environment environment_protected deployment_tier event_name pipeline_source pipeline_slug step_key',
    'workflow workflow_ref job_workflow_ref ci_config_ref_uri check_run_id run_id run_number run_attempt',
    'runner_environment runner_id terraform_run_phase terraform_workspace_name terraform_project_name',
    'visibility repository_visibility project_visibility namespace_visibility',
    'actor actor_id user_login user_email user_access_level groups_direct',
    'email_verified typ token_use scope scp azpacr ver acr amr',
  ].flatMap((names) => names.split(' ')),
);
/** Segments that say of what kind the next one is. */
const labels = new Set(
  [
    'repo repository repositories repository_owner project projects project_path owner org orgs organization organizations',
    'account accounts enterprise group groups team teams tenant tenants user users workspace workspaces',
    'namespace namespaces ns system serviceaccount serviceaccounts subscriptions aws aws-cn aws-us-gov iam sts',
  ].flatMap((names) => names.split(' ')),
);

/** Whether the text goes past an owner's name, where nothing is known of how the issuer writes them. */
function goesPastOwner(text: string): boolean {
  // The host of an address is the platform, for all its owners.
  let rest = text.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*\//i, '');
  for (let first = true; ; first = false) {
    const [segment, name, delimiter] = /^([^/:]*)([/:])/.exec(rest) ?? [];
    if (segment === undefined || name === undefined || howNotWhose.has(name)) return false;
    const isLabel = name === '' || labels.has(name) || (first && delimiter === ':');
    if (!isLabel) return true;
    rest = rest.slice(segment.length);
  }
}

/** What holds at any issuer. */
function pinsAtAnyIssuer(path: readonly string[], ends: TextEnds): boolean {
  const [first = ''] = path;
  if (first.startsWith('kubernetes.io')) return pinsOwner('kubernetes', path, ends);
  if (first === 'google') return pinsOwner('gcp', path, ends);
  if (envelopeClaims.has(first) || path.some((name) => howNotWhose.has(name))) return false;
  // An end proves nothing here: strangers choose what their repositories and accounts are called.
  const starts = ends.starts?.map((end) => plain(end)) ?? [];
  return (
    starts.length > 0 &&
    starts.every(({ text, whole }) => {
      if (!whole) return goesPastOwner(text);
      return !['', 'true', 'false'].includes(text) && !howNotWhose.has(/^([^/:]+):/.exec(text)?.[1] ?? '');
    })
  );
}

/** Whether a rule on this claim holds only for what one owner has at such an issuer. */
export function pinsOwner(kind: IssuerKind, path: readonly string[], ends: TextEnds): boolean {
  if (kind === 'generic') return pinsAtAnyIssuer(path, ends);
  return ownerClaims[kind].some(({ path: named, pins, by }) => {
    const all = by === 'finishes' ? ends.finishes : ends.starts;
    const list = kind === 'spiffe' ? all : (all?.map((end) => plain(end, by)) ?? null);
    return named.join('\n') === path.join('\n') && list !== null && list.length > 0 && list.every(pins);
  });
}

/** The part before, or after, anything that may stand there. */
function plain({ text, whole }: TextEnd, by?: 'finishes'): TextEnd {
  if (!text.includes(anyCharacter)) return { text, whole };
  const parts = text.split(anyCharacter);
  return { text: (by === 'finishes' ? parts.at(-1) : parts[0]) ?? '', whole: false };
}

/** What `pinsOwner` asks for, in words. */
export function ownerHint(kind: IssuerKind): string {
  if (kind === 'generic')
    return 'a claim that says whose the workload is, by a value or by a pattern that begins with the owner in plain text and what follows it (octo/.*)';
  const names = [...new Set(ownerClaims[kind].map(({ path }) => path.join(' → ')))];
  return `one of ${names.join(', ')}, by a value or by a pattern that begins with the owner and what follows it (repo:octo/.*)`;
}
