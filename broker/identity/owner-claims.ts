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

const exactly = ({ text, whole }: TextEnd) => whole && text !== '';
/** A complete first segment, or all of it. */
const segmentBefore = (delimiter: string) => (end: TextEnd) => exactly(end) || end.text.indexOf(delimiter) > 0;
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
    claim('sub', begins(/^system:serviceaccount:[^:]/)),
    nested(['kubernetes.io', 'namespace'], ({ text }) => text !== ''),
    nested(['kubernetes.io', 'serviceaccount', 'uid']),
  ],
  gcp: [
    claim('sub'),
    claim('email'),
    { ...claim('email', begins(/@[a-z][^@]*\.iam\.gserviceaccount\.com$/)), by: 'finishes' },
    claim('hd'),
    nested(['google', 'compute_engine', 'project_id']),
    nested(['google', 'compute_engine', 'project_number']),
  ],
  spiffe: [claim('sub', begins(/^spiffe:\/\/[^/]+\/[^/]/))],
};

/** Issuers whose kind their address tells. */
const wellKnown: [RegExp, IssuerKind][] = [
  [/^https:\/\/token\.actions\.githubusercontent\.com(\/|$)/, 'github_actions'],
  [/^https:\/\/gitlab\.com$/, 'gitlab'],
  [/^https:\/\/agent\.buildkite\.com$/, 'buildkite'],
  [/^https:\/\/app\.terraform\.io$/, 'terraform'],
  [/^https:\/\/oidc\.vercel\.com(\/|$)/, 'vercel'],
  [/^https:\/\/(login\.microsoftonline\.com|sts\.windows\.net)\//, 'entra'],
  [/^https:\/\/accounts\.google\.com$/, 'gcp'],
  [/^spiffe:/, 'spiffe'],
];

/** The kind of an issuer that everybody knows; undefined for any other. */
export function wellKnownKind(issuer: string): IssuerKind | undefined {
  return wellKnown.find(([form]) => form.test(issuer))?.[1];
}

const envelopeClaims = new Set(['iss', 'aud', 'exp', 'iat', 'nbf', 'jti']);
/** What says how or when something runs, at many issuers, and never whose it is. */
const howNotWhose = new Set([
  ...[
    'ref',
    'ref_name',
    'ref_type',
    'ref_path',
    'ref_protected',
    'head_ref',
    'base_ref',
    'branch',
    'build_branch',
    'tag',
  ],
  ...[
    'environment',
    'environment_protected',
    'deployment_tier',
    'event_name',
    'pipeline_source',
    'pipeline_slug',
    'step_key',
  ],
  ...['workflow', 'workflow_ref', 'job_workflow_ref', 'ci_config_ref_uri', 'runner_environment', 'runner_id'],
  ...['email_verified', 'typ', 'token_use', 'scope', 'scp', 'azpacr', 'ver', 'acr', 'amr'],
]);

/** Whether a rule on this claim holds only for what one owner has at such an issuer. */
export function pinsOwner(kind: IssuerKind, path: readonly string[], ends: TextEnds): boolean {
  if (kind === 'generic') {
    const [first = ''] = path;
    if (envelopeClaims.has(first) || howNotWhose.has(first)) return false;
    const says = (list: TextEnd[] | null) =>
      list !== null &&
      list.length > 0 &&
      list.every(({ text }) => text.replaceAll(anyCharacter, '') !== '' && text !== 'true' && text !== 'false');
    return says(ends.starts) || says(ends.finishes);
  }
  return ownerClaims[kind].some(({ path: named, pins, by }) => {
    const all = by === 'finishes' ? ends.finishes : ends.starts;
    // Of a trust domain the issuer alone has the keys.
    const list = kind === 'spiffe' ? all : (all?.map((end) => plain(end, by)) ?? null);
    return named.join('\n') === path.join('\n') && list !== null && list.length > 0 && list.every(pins);
  });
}

/** The part before, or after, anything that may stand there. */
function plain({ text, whole }: TextEnd, by: 'finishes' | undefined): TextEnd {
  if (!text.includes(anyCharacter)) return { text, whole };
  const parts = text.split(anyCharacter);
  return { text: (by === 'finishes' ? parts.at(-1) : parts[0]) ?? '', whole: false };
}

/** What `pinsOwner` asks for, in words. */
export function ownerHint(kind: IssuerKind): string {
  if (kind === 'generic')
    return 'a claim that says whose the workload is, by a value or by a pattern that begins or ends with plain text';
  const names = [...new Set(ownerClaims[kind].map(({ path }) => path.join(' → ')))];
  return `one of ${names.join(', ')}, by a value or by a pattern that begins with the owner and what follows it (repo:octo/.*)`;
}
