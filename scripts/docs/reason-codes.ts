/**
 * `docs/reference/reason-codes.md`: the closed lists of reasons, of `broker/core/reasons.ts`. A reason
 * without a meaning does not compile.
 */
import {
  decisionReasons,
  endReasons,
  misuseReasons,
  passkeyRefusals,
  type ReasonText,
  refusalReasons,
  retiredRevokeReasons,
  reviewBlockers,
  revokeReasons,
} from '../../broker/core/reasons.ts';
import { code, generatedFrom, page, table } from './markdown.ts';

const codes = (reasons: { readonly [code: string]: ReasonText }) =>
  table(
    ['Code', 'Meaning'],
    Object.entries(reasons).map(([name, { meaning }]) => [code(name), meaning]),
  );

export function reasonCodesPage(): string {
  const besidesRefusals = Object.entries(misuseReasons).filter(([name]) => !Object.hasOwn(refusalReasons, name));
  return page(
    generatedFrom('broker/core/reasons.ts'),
    '# Reason codes',
    'A denied grant (`403`, code `denied`) says why in `reasons`: each has a `code`, and where there is one the `policy_id` that decided, the `path` of the field and an `advice` in words. `nearest`, when it is there, is the closest request that policy alone would allow; send it as it stands.',
    codes(decisionReasons),
    '## Why a session ended',
    '`end_reason` of a session, and `reason` of its `session.ended` event.',
    codes(endReasons),
    '## Why a lease is revoked',
    '`revoke_reason` of a lease, and `reason` of its `lease.revoking` or `lease.expired` event.',
    codes(revokeReasons),
    'Older rows keep what they were written with:',
    codes(retiredRevokeReasons),
    '## Why a person may not review',
    '`refused_because` of a `review.refused` event.',
    codes(reviewBlockers),
    '## Why a passkey was refused',
    '`reason` of a `passkey.refused` event.',
    codes(passkeyRefusals),
    '## Why a proof of identity was refused',
    '`reason` of a `session.refused` or `session.misused` event. The caller is told less: one sentence in `detail`.',
    codes(refusalReasons),
    'Of `session.misused` only:',
    codes(Object.fromEntries(besidesRefusals)),
  );
}
