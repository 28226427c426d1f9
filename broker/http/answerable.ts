/** Which refusals an operation may answer: its own, and those of the way to its handler. */
import { type ErrorCode, errorTable } from '../core/errors.ts';
import { inOAuthWords } from './oauth-words.ts';
import { mayNotAct, type Operation } from './operation.ts';

/** By status, as the operation answers them. */
export function refusalsByStatus(op: Operation): [status: number, codes: ErrorCode[]][] {
  const oauth = op.bodyType === 'form';
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of new Set([...op.errors, ...onTheWay(op)])) {
    const statuses = [oauth ? inOAuthWords(code).status : errorTable[code].status];
    // Where an Authorization header was sent (RFC 6749 section 5.2).
    if (oauth && code === 'invalid_client') statuses.push(401);
    for (const status of statuses) byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return [...byStatus].sort(([a], [b]) => a - b);
}

/** What `mount.ts` refuses before the handler runs, and what may fail under any. */
function onTheWay(op: Operation): ErrorCode[] {
  return [
    ...entrances[op.access],
    ...(op.needsClock === true ? (['unavailable'] as const) : []),
    ...(op.body === undefined ? [] : bodyRefusals(op)),
    ...(op.query === undefined && op.params === undefined ? [] : (['bad_request'] as const)),
    ...(op.params === undefined ? [] : (['not_found'] as const)),
    'rate_limited',
    'internal',
    'unavailable',
  ];
}

const entrances = {
  none: [],
  session: [...mayNotAct, 'invalid_dpop_proof'],
  admin: ['unauthenticated', 'forbidden'],
  person: ['unauthenticated', 'forbidden'],
} as const satisfies Record<Operation['access'], readonly ErrorCode[]>;

function bodyRefusals({ bodyType = 'json', dialect }: Operation): ErrorCode[] {
  return [
    bodyType === 'form' ? 'invalid_request' : 'bad_request',
    'body_too_large',
    ...(bodyType === 'json' ? (['invalid_json'] as const) : []),
    ...(dialect === 'authzen' ? [] : (['unsupported_media_type'] as const)),
  ];
}
