/** Somebody asks to break the glass: for whom, what, why, and for how long, signed with their passkey. */
import { insertIncident } from '../../approvals/incidents.ts';
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { requireClock, type Timed } from '../core/clock-guard.ts';
import { WritError } from '../core/errors.ts';
import { newId } from '../core/ids.ts';
import type { Catalog } from '../manifests/catalog.ts';
import { member } from '../manifests/manifest.ts';
import { type Identity, identityRecord, personRef } from '../people/identity.ts';
import type { PasskeyDeps } from '../people/passkeys/relying-party.ts';
import type { EndSessionDeps } from '../sessions/end-session.ts';
import type { Statement } from '../store/open.ts';
import { askDigest, type BreakGlassTerms, definitionOf, type NamedCapability } from './digest.ts';
import { lineOf, mayBeParty } from './parties.ts';
import { takeSigned } from './passkey.ts';
import { type TellDeps, tellingOf } from './tell-people.ts';
import { type BreakGlassPeople, mayBreak } from './who-may.ts';

export interface BreakGlassDeps extends EndSessionDeps, TellDeps, PasskeyDeps, Timed {
  catalog: Catalog;
  people: BreakGlassPeople;
  /** The longest, and how long where nobody says. */
  longestSeconds: number;
  /** In so long after its end it must be reviewed. */
  reviewSeconds: number;
}

/** A person who is signed in, and by which login. */
export interface SignedInPerson {
  identity: Identity;
  loginId: string;
}

/** What somebody asks for, checked for shape. */
export interface BreakGlassRequest {
  /** An agent by its name, or one session by its id. */
  agent: string | undefined;
  session: string | undefined;
  capabilities: readonly string[];
  reason: string;
  incident: string;
  seconds: number | undefined;
}

/** How long another person has to agree. */
export const waitSeconds = 1800;

const sessionStatement: Statement = {
  name: 'break_glass_session',
  text: `SELECT agent, ended_at FROM session WHERE id = $1::text`,
};

const askStatement: Statement = {
  name: 'break_glass_ask',
  text: `
    WITH asked AS (
      INSERT INTO break_glass (id, agent, session_id, capabilities, reason, incident, seconds, digest, requested_by, requester, requester_passkey,
                               requester_evidence, requested_at, decide_by, proof, status)
      VALUES ($1::text, $2::text, $3::text, $4::jsonb, $5::text, $6::text, $7::int, $8::text, $9::text, $10::jsonb, $11::text, $18::jsonb,
              $12::timestamptz, $13::timestamptz, $14::text, 'waiting') RETURNING id
    ), event AS (
      ${appendEvent({ chain: "'break-glass'", at: '$12::timestamptz', type: event('break_glass.asked'), actor: '$9::text', request: '$15::text', payload: '$16::json' }, 'asked')}
    ), telling AS (
      SELECT NULL::text AS session_id, $12::timestamptz AS at, $17::jsonb AS tells FROM asked
    ), told AS (${insertIncident('telling')}
    )
    SELECT id FROM asked`,
};

/**
 * The terms of a request, as the manifest in force has them, and what must be signed.
 * @throws WritError `forbidden`, `bad_request` with the field's path
 */
export async function termsOf(
  deps: Pick<BreakGlassDeps, 'store' | 'catalog' | 'people' | 'longestSeconds'>,
  request: BreakGlassRequest,
  person: Identity,
): Promise<{ terms: BreakGlassTerms; digest: string; owner: string }> {
  if (!mayBreak(deps.people, person))
    throw new WritError('forbidden', {
      detail: 'Only admins, and members of the group WRIT_BREAK_GLASS_GROUP, break the glass.',
    });
  const { agent, session_id } = await subjectOf(deps, request, person);
  const manifest = await deps.catalog.current(agent);
  if (manifest === null) throw refused('agent', 'is not the name of an agent here');
  const { capabilities, owner } = manifest.compiled.manifest;
  const named: NamedCapability[] = [...new Set(request.capabilities)].sort().map((name) => {
    const capability = member(capabilities, name);
    if (capability === undefined) throw refused('capabilities', `${agent} has no such capability`);
    if (capability.break_glass !== true)
      throw refused('capabilities', 'the manifest in force does not mark it with break_glass');
    return { name, definition: definitionOf(capability) };
  });
  if (named.length === 0) throw refused('capabilities', 'must name one or more');
  const seconds = request.seconds ?? deps.longestSeconds;
  if (seconds > deps.longestSeconds) throw refused('seconds', `must be ${deps.longestSeconds} or less`);
  const { reason, incident } = request;
  const terms = { agent, session_id, capabilities: named, reason, incident, seconds };
  return { terms, digest: askDigest(terms), owner };
}

async function subjectOf(
  { store }: Pick<BreakGlassDeps, 'store'>,
  { agent, session }: BreakGlassRequest,
  person: Identity,
): Promise<{ agent: string; session_id: string | null }> {
  if ((agent === undefined) === (session === undefined)) throw refused('agent', 'name either an agent or a session');
  if (session === undefined) return { agent: agent!, session_id: null };
  const [row] = await store.run<{ agent: string; ended_at: Date | null }>(sessionStatement, [session]);
  if (row === undefined) throw refused('session', 'is no session');
  if (row.ended_at !== null) throw refused('session', 'has ended');
  await refuseParty(store, session, person);
  return { agent: row.agent, session_id: session };
}

/** What it is about, for the passkey's own record. */
export const toAskFor = ({ agent, session_id }: BreakGlassTerms) => ({ about: session_id ?? agent });

/** @throws WritError `forbidden`: the session is this person's, or nobody can tell */
export async function refuseParty(store: BreakGlassDeps['store'], sessionId: string, person: Identity): Promise<void> {
  const line = await lineOf(store, sessionId);
  if (line !== null && !mayBeParty(person, line)) return;
  throw new WritError('forbidden', {
    detail:
      'The session acts for you, was started by you or by whom you answer with, or nobody can tell: somebody else must.',
  });
}

/**
 * Puts the request on record and tells people. Nothing is given by it: another person must agree.
 * @param assertion of the person's passkey, over the digest of `termsOf`: what the browser sent, as text
 * @returns its id
 * @throws WritError `forbidden`, `bad_request`, `unavailable` (by a wrong clock)
 */
export async function askToBreakGlass(
  deps: BreakGlassDeps,
  request: BreakGlassRequest,
  person: SignedInPerson,
  assertion: unknown,
  requestId: string | null,
): Promise<string> {
  requireClock(deps);
  const { terms, digest, owner } = await termsOf(deps, request, person.identity);
  const { passkey, evidence } = await takeSigned(deps, { ...person, ...toAskFor(terms), digest }, assertion, requestId);
  const now = deps.clock.now();
  const row = {
    ...terms,
    id: newId('bgl', now),
    digest,
    requested_by: personRef(person.identity),
    requester: identityRecord(person.identity),
    requester_passkey: passkey,
    requester_evidence: evidence,
    requested_at: now,
    decide_by: new Date(now.getTime() + waitSeconds * 1000),
  };
  await deps.store.run(askStatement, [
    row.id,
    row.agent,
    row.session_id,
    JSON.stringify(row.capabilities),
    row.reason,
    row.incident,
    row.seconds,
    digest,
    row.requested_by,
    JSON.stringify(row.requester),
    passkey,
    now,
    row.decide_by,
    deps.store.proofs.make('break_glass', row),
    requestId,
    JSON.stringify(
      eventPayload('break_glass.asked', {
        break_glass: row.id,
        agent: row.agent,
        session: row.session_id,
        capabilities: row.capabilities.map(({ name }) => name),
        reason: row.reason,
        incident: row.incident,
        seconds: row.seconds,
        person: row.requester as never,
        passkey,
      }),
    ),
    JSON.stringify(tellingOf(deps, row, owner, 'break_glass_asked', row.decide_by, now)),
    JSON.stringify(evidence),
  ]);
  return row.id;
}

const refused = (path: string, message: string) => new WritError('bad_request', { errors: [{ path, message }] });
