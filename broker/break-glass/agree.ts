/** A second person agrees, with a passkey of their own: from the commit of this on the glass is broken. */
import { insertIncident } from '../../approvals/incidents.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { requireClock } from '../core/clock-guard.ts';
import { WritError } from '../core/errors.ts';
import { member } from '../manifests/manifest.ts';
import { type Identity, identityRecord, isAnotherPerson, personRef } from '../people/identity.ts';
import type { Statement } from '../store/open.ts';
import { type BreakGlassDeps, refuseParty, type SignedInPerson } from './ask.ts';
import { agreeDigest, definitionOf } from './digest.ts';
import { takeSigned } from './passkey.ts';
import { breakGlassOf, isAsked, peopleOf, type StoredBreakGlass } from './stored-break-glass.ts';
import { tellingOf } from './tell-people.ts';
import { mayBreak } from './who-may.ts';

const agreeStatement: Statement = {
  name: 'break_glass_agree',
  text: `
    WITH opened AS (
      UPDATE break_glass SET status = 'active', approved_by = $2::text, approver = $3::jsonb, approver_passkey = $4::text, approver_evidence = $11::jsonb, approved_at = $5::timestamptz,
        expires_at = $6::timestamptz, approval_proof = $7::text
      WHERE id = $1::text AND status = 'waiting' AND decide_by > $5::timestamptz RETURNING id
    ), event AS (
      ${appendEvent({ chain: "'break-glass'", at: '$5::timestamptz', type: event('break_glass.opened'), actor: '$2::text', request: '$8::text', payload: '$9::json' }, 'opened')}
    ), telling AS (
      SELECT NULL::text AS session_id, $5::timestamptz AS at, $10::jsonb AS tells FROM opened
    ), told AS (${insertIncident('telling')}
    )
    SELECT id FROM opened`,
};

type AgreeDeps = Pick<BreakGlassDeps, 'store' | 'catalog' | 'people' | 'clock'>;

/**
 * What the second person must sign.
 * @throws WritError `not_found`, `forbidden`, `conflict`
 */
export async function toAgreeTo(
  deps: AgreeDeps,
  id: string,
  person: Identity,
): Promise<{ row: StoredBreakGlass; digest: string; owner: string }> {
  const row = await breakGlassOf(deps.store, id);
  if (row === null) throw new WritError('not_found');
  const barred = whyNotSecond(deps, row, person);
  if (barred !== null) throw new WritError('forbidden', { detail: barred });
  if (row.status !== 'waiting' || row.over || row.decide_by <= deps.clock.now())
    throw new WritError('conflict', { detail: 'It does not wait for anybody any more.' });
  if (row.session_id !== null) await refuseParty(deps.store, row.session_id, person);
  const manifest = await deps.catalog.current(row.agent);
  const capabilities = manifest?.compiled.manifest.capabilities ?? {};
  for (const { name, definition } of row.capabilities) {
    const capability = member(capabilities, name);
    if (capability?.break_glass !== true || definitionOf(capability) !== definition)
      throw new WritError('conflict', {
        detail: `The manifest says something else of ${name} by now. It must be asked for anew.`,
      });
  }
  return { row, digest: agreeDigest(row), owner: manifest!.compiled.manifest.owner };
}

/** Why a person may not be the second of the two; null = they may, as far as the row says. */
export function whyNotSecond({ store, people }: AgreeDeps, row: StoredBreakGlass, person: Identity): string | null {
  if (!mayBreak(people, person))
    return 'Only admins, and members of the group WRIT_BREAK_GLASS_GROUP, break the glass.';
  if (!isAsked(store, row))
    return 'Its row was written or changed by somebody other than this broker, so nobody knows who asked. Ask anew.';
  const [requester] = peopleOf(row);
  return isAnotherPerson(requester!, person)
    ? null
    : 'Another person than the one who asked must agree, signed in at the same identity provider.';
}

/**
 * @param assertion of the person's passkey, over the digest of `toAgreeTo`: what the browser sent, as text
 * @throws WritError `not_found`, `forbidden`, `conflict`, `unavailable` (by a wrong clock)
 */
export async function agreeToBreakGlass(
  deps: BreakGlassDeps,
  id: string,
  person: SignedInPerson,
  assertion: unknown,
  requestId: string | null,
): Promise<void> {
  requireClock(deps);
  const { row, digest, owner } = await toAgreeTo(deps, id, person.identity);
  const { passkey, evidence } = await takeSigned(deps, { ...person, about: id, digest }, assertion, requestId);
  if (passkey === row.requester_passkey)
    throw new WritError('forbidden', { detail: 'It is the passkey that asked: another must agree.' });
  const now = deps.clock.now();
  const by = {
    approved_by: personRef(person.identity),
    approver: identityRecord(person.identity),
    approver_passkey: passkey,
    approver_evidence: evidence,
    approved_at: now,
    expires_at: new Date(now.getTime() + row.seconds * 1000),
  };
  const told = { ...row, approved_by: by.approved_by };
  const opened = await deps.store.run(agreeStatement, [
    id,
    by.approved_by,
    JSON.stringify(by.approver),
    passkey,
    now,
    by.expires_at,
    deps.store.proofs.make('break_glass_approval', { id, digest: row.digest, ...by }),
    requestId,
    JSON.stringify(
      eventPayload('break_glass.opened', {
        break_glass: id,
        agent: row.agent,
        expires_at: by.expires_at.toISOString(),
        person: by.approver as never,
        passkey,
      }),
    ),
    JSON.stringify(tellingOf(deps, told, owner, 'break_glass_opened', by.expires_at, now)),
    JSON.stringify(evidence),
  ]);
  if (opened.length === 0) throw new WritError('conflict', { detail: 'It does not wait for anybody any more.' });
}
