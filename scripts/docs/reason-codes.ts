/** `docs/reference/reason-codes.md`: why a grant was denied or parked. The codes are collected from the code; one that is not explained here is a fault. */
import { rulesOf } from '../../broker/manifests/cedar-rules.ts';
import { ManifestSchema } from '../../broker/manifests/manifest.ts';
import { code, generatedFrom, page, table } from './markdown.ts';

const meanings: { [reason: string]: string } = {
  needs_approval: 'The capability is of tier 2 or 3: a person must approve. Comes with `pending`, not with a denial.',
  param_not_bound_value:
    'A parameter differs from what the manifest fixes or binds to the task’s inputs. Leave it out.',
  param_outside_choice: 'A parameter is outside what the manifest lets the agent choose. `advice` says what is inside.',
  ttl_too_long: 'The lifetime is not between one second and the capability’s `max_ttl`.',
  outside_session: 'A child session was opened without this capability.',
  envelope_spent: 'The session has asked for as many grants as its envelope allows.',
  capability_spent: 'The session has asked for this capability as often as the manifest allows.',
  not_permitted: 'No rule allows it: another task type, owner or provider than the manifest says.',
  task_not_valid: 'The task of the session does not fit the manifest in force, which may be newer than the session.',
  capability_unknown: 'The manifest in force has no such capability.',
  agent_unknown: 'The manifest in force is another agent’s.',
  facts_not_valid: 'A fact has the wrong type. Nobody should ever see this; the request is denied all the same.',
  policy_failed: 'A policy could not be evaluated. Denied, because Cedar would skip it.',
  denied_by_approver: 'A person denied it; `advice` is their reason.',
  timeout: 'Nobody decided within `WRIT_APPROVAL_TIMEOUT_SECONDS`.',
  not_redeemed: 'It was approved, and the agent did not collect it within `WRIT_REDEEM_TIMEOUT_SECONDS`.',
};

/** One of everything that makes a rule. */
const manifest = {
  apiVersion: 'writ/v1',
  agent: 'a',
  owner: 'team:t',
  description: 'd',
  envelope: { wall_time: '1m', max_grants: 1 },
  task_types: { t: { description: 'd', envelope: { max_grants: 1 } } },
  capabilities: {
    c: {
      description: 'd',
      provider: 'p',
      tasks: ['t'],
      tier: 2,
      max_ttl: '1m',
      max_grants: 1,
      params: { fixed: 'x' },
      choose: { chosen: { type: 'integer', min: 1, max: 2 } },
    },
  },
};

/** The codes that compiled policies can give. */
export function policyReasons(): string[] {
  const parsed = ManifestSchema.parse(manifest);
  const rules = Object.entries(parsed.capabilities).flatMap(([name, own]) => rulesOf(parsed, name, own));
  return [...new Set(rules.map((rule) => rule.reason))];
}

/** The codes written out in a source file: `{ code: 'x' }`, `denial('x'`, `jsonb_build_object('code', 'x')`, `THEN 'x' ELSE 'y' END AS reason`. */
export function writtenReasons(source: string): string[] {
  const shapes = [
    /\bcode: '([a-z_]+)'/g,
    /\bdenial\('([a-z_]+)'/g,
    /'code', '([a-z_]+)'/g,
    /THEN '([a-z_]+)' ELSE '[a-z_]+' END AS reason/g,
    /THEN '[a-z_]+' ELSE '([a-z_]+)' END AS reason/g,
    /"code": ?"([a-z_]+)"/g,
  ];
  return [...new Set(shapes.flatMap((shape) => [...source.matchAll(shape)].map((match) => match[1] as string)))];
}

/** @throws Error when a code is not explained, or an explained one is gone */
export function reasonCodesPage(found: readonly string[]): string {
  const unexplained = found.filter((reason) => !Object.hasOwn(meanings, reason));
  const gone = Object.keys(meanings).filter((reason) => !found.includes(reason));
  if (unexplained.length + gone.length > 0)
    throw new Error(
      `scripts/docs/reason-codes.ts: not explained: ${unexplained.join()}; not in the code: ${gone.join()}`,
    );
  return page(
    generatedFrom('broker/decide, broker/manifests/cedar-rules.ts and approvals/review.ts'),
    '# Reason codes',
    'A denied grant (`403`, code `denied`) says why in `reasons`: each has a `code`, and where there is one the `policy_id` that decided, the `path` of the field and an `advice` in words. `nearest`, when it is there, is the closest request that policy alone would allow; send it as it stands.',
    table(
      ['Code', 'Meaning'],
      Object.entries(meanings).map(([reason, meaning]) => [code(reason), meaning]),
    ),
  );
}
