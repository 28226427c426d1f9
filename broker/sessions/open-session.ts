/**
 * Opening a session: a verified principal declares one task and is bound to it for good.
 */
import { appendEvent } from '../audit/append.ts';
import { event, eventPayload } from '../audit/events.ts';
import { type FieldFault, WritError } from '../core/errors.ts';
import { maySame, readUser, userText, type VouchedPerson } from '../core/identifier.ts';
import { newId } from '../core/ids.ts';
import { looksLikeToken } from '../core/looks-secret.ts';
import type { Clock, JsonObject, LockLevel, Task } from '../core/vocabulary.ts';
import { lockedOut } from '../locks/standing-locks.ts';
import { holdRate, moveRate } from '../manifests/agent-rate.ts';
import { attestedClaims } from '../manifests/attested-claims.ts';
import { checkTask } from '../manifests/bind.ts';
import type { Catalog } from '../manifests/catalog.ts';
import { askable, type Manifest, member } from '../manifests/manifest.ts';
import { ownerStopped } from '../manifests/owner-marks.ts';
import type { PublishedManifest } from '../manifests/publish.ts';
import { batch } from '../store/batch.ts';
import type { Statement, Store } from '../store/open.ts';
import { mayAct } from './live-session.ts';
import { burnOnce, burnShown, type OneTime, usedBefore } from './one-time.ts';
import { type OpenedSession, taskAsItHolds } from './opened-session.ts';
import type { ActorChain, SessionTokens } from './session-token.ts';

/** Who was verified, by whichever way. */
export interface Principal {
  agent: string;
  /** Issuer and subject of what was verified; never a token. */
  subject: JsonObject;
  /** Claims of the platform's token; absent when there is none. Those that a manifest asks for are kept. */
  claims?: JsonObject;
  /** The person who started the run, as it is vouched for. */
  startedBy: VouchedPerson | null;
  /** The person the run is for, as it is vouched for; when set, the agent cannot claim another. */
  onBehalfOf: VouchedPerson | null;
  /** `team:…` or `user:…` of the trust file that counts as the starter. */
  responsible: string | null;
  /** What was verified, for the record of what counts once. Its expiry is no bound on the session. */
  shown: OneTime[];
}

/** One element of `authorization_details` (RFC 9396) of type `task`, already checked for shape. */
export interface TaskDeclaration {
  task_type: string;
  inputs: { [name: string]: unknown };
  /** `user:…`, well-formed: the agent's own word. */
  on_behalf_of: string | null;
  envelope: { wall_time_seconds?: number | undefined; max_grants?: number | undefined };
}

export interface OpenSessionDeps {
  store: Store;
  clock: Clock;
  catalog: Catalog;
  tokens: SessionTokens;
  heartbeat: { seconds: number; misses: number };
  maxWallTimeSeconds: number;
  /** Sessions one agent may open in a minute; 0 = no limit. */
  sessionsPerMinute: number;
  /** Grants one session may ask for; its envelope may say fewer. */
  maxGrantsPerSession: number;
}

/** A wish to be able to ask for less than the task allows. */
export interface Narrowing {
  names: readonly string[];
  /** Where it was said. */
  path: 'scope' | 'authorization_details[0].capabilities';
}

/**
 * Several at once (see store/batch.ts); of two with the same one-time value, the first has it, and whoever
 * may show it again. A statement costs by what is in it, whether it comes to that or not: only a child's
 * looks at a parent, only where there is a limit is anything counted, and only where something may be shown
 * again is asked by whom.
 */
function insertStatementFor({ child, limited, reshown }: Variant): Statement {
  // True where nobody else has shown it.
  const free = reshown
    ? '(SELECT replay.bound_to IS DISTINCT FROM value.bound OR value.bound IS NULL FROM replay WHERE replay.key = value.key LIMIT 1) IS NOT TRUE'
    : '(SELECT 1 FROM replay WHERE replay.key = value.key LIMIT 1) IS NULL';
  return {
    name: `session_open${child ? '_child' : ''}${limited ? '_limited' : ''}${reshown ? '_reshown' : ''}`,
    text: `
    WITH r AS MATERIALIZED (
      SELECT asked.*, (${ownerStopped('asked.agent', 'asked.manifest_version', 'asked.owner')}) AS owner_gone,
             ${lockedOut('asked.agent', 'asked.owner')} AS locked
      FROM json_to_recordset($1::json) AS asked (
        n int, keys text[], keys_until timestamptz[], keys_bound text[], per_minute int, at timestamptz, agent text, owner text, manifest_version int, parent_id text, id text, root_id text,
        task_type text, inputs jsonb, on_behalf_of jsonb, declared_on_behalf_of text, started_by jsonb, responsible text, principal_root text, capabilities text[], narrowed boolean, subject jsonb,
        dpop_jkt text, max_grants int, expires_at timestamptz, heartbeat_deadline timestamptz, proof text, request_id text, audit json) LIMIT 16
    ), once AS MATERIALIZED (${
      reshown
        ? `
      SELECT n, key, until, bound, ${free} AS free FROM (
        SELECT r.n, value.key, value.until, value.bound, first_value(r.n) OVER shown AS first_n, first_value(value.bound) OVER shown AS first_bound
        FROM r CROSS JOIN LATERAL unnest(r.keys, r.keys_until, r.keys_bound) AS value (key, until, bound) WHERE NOT r.owner_gone AND r.locked IS NULL
        WINDOW shown AS (PARTITION BY value.key ORDER BY r.n)) value
      WHERE n = first_n OR bound = first_bound`
        : `
      SELECT DISTINCT ON (value.key) r.n, value.key, value.until, ${free} AS free
      FROM r CROSS JOIN LATERAL unnest(r.keys, r.keys_until) AS value (key, until) WHERE NOT r.owner_gone AND r.locked IS NULL ORDER BY value.key, r.n`
    }
    ), checked AS MATERIALIZED (
      -- From here to the INSERT only what is judged by: every step writes its rows anew.
      SELECT n, id, agent, root_id, parent_id, max_grants, per_minute, at, keys, owner_gone, locked, coalesce(own.free, 0) = cardinality(keys) AS fresh
      FROM r LEFT JOIN (SELECT n, count(*) AS free FROM once WHERE free GROUP BY n) own USING (n)
    ), judged AS ${
      limited
        ? `MATERIALIZED (
      -- Those that come to nothing take no place in the rate.
      SELECT *, per_minute = 0 OR count(*) FILTER (WHERE fresh AND NOT owner_gone AND locked IS NULL) OVER (PARTITION BY agent ORDER BY n) + (SELECT count(*) FROM (
               SELECT 1 FROM session WHERE session.agent = checked.agent AND session.opened_at > checked.at - interval '1 minute'
               ORDER BY session.opened_at DESC LIMIT checked.per_minute) recent) <= per_minute AS within_rate
      FROM checked`
        : 'NOT MATERIALIZED (SELECT *, true AS within_rate FROM checked'
    }
    ), allowed AS ${child ? '' : 'NOT '}MATERIALIZED (
      SELECT * FROM judged WHERE fresh AND within_rate AND NOT owner_gone AND locked IS NULL${child ? ' ORDER BY root_id, parent_id' : ' AND parent_id IS NULL'}
    ), ${
      child
        ? `held AS MATERIALIZED (
      -- In the order of trees, as grants lock them.
      SELECT allowed.n, allowed.parent_id, allowed.max_grants FROM allowed
      CROSS JOIN LATERAL (
        SELECT parent_id, status, expires_at, heartbeat_deadline, max_grants, grant_count FROM session WHERE id = allowed.parent_id FOR UPDATE) p
      WHERE ${mayAct('p', 'allowed.at')} AND (p.max_grants IS NULL OR p.grant_count + allowed.max_grants <= p.max_grants)
    ), may_open AS MATERIALIZED (
      SELECT * FROM allowed WHERE EXISTS (SELECT 1 FROM held WHERE held.n = allowed.n)
    ), `
        : `may_open AS NOT MATERIALIZED (SELECT * FROM allowed
    ), `
    }${
      limited
        ? `rate AS MATERIALIZED (${holdRate('opened', 'may_open')}
    ), placed AS MATERIALIZED (
      SELECT may_open.*, rate.used, rate.newest, row_number() OVER (PARTITION BY may_open.agent ORDER BY may_open.n) AS place
      FROM may_open LEFT JOIN rate ON rate.agent = may_open.agent
    ), may_burn AS MATERIALIZED (
      SELECT *, newest + place AS agent_seq FROM placed WHERE used IS NULL OR used + place <= per_minute
    ), `
        : `may_burn AS NOT MATERIALIZED (SELECT *, NULL::bigint AS agent_seq FROM may_open
    ), `
    }burnt AS (
      -- Last of all: what is refused for another reason may be tried again with the same token.
${
  reshown
    ? burnShown('SELECT DISTINCT ON (key) key, until, bound FROM once JOIN may_burn USING (n) ORDER BY key')
    : burnOnce('SELECT key, until FROM once JOIN may_burn USING (n) ORDER BY key')
}
    ), passed AS MATERIALIZED (
      -- Somebody else may have come with it meanwhile.
      SELECT n, agent, agent_seq
      FROM may_burn LEFT JOIN (SELECT once.n, count(*) AS burnt FROM burnt JOIN once ON once.key = burnt.key GROUP BY once.n) own USING (n)
      WHERE coalesce(own.burnt, 0) = cardinality(keys)
    ), ${
      limited
        ? `counted AS (${moveRate('opened', 'passed')}
    ), `
        : ''
    }${
      child
        ? `parent AS (
      -- What a child may use of a bounded envelope is taken from its parent's, at once.
      UPDATE session SET grant_count = session.grant_count + CASE WHEN session.max_grants IS NULL THEN 0 ELSE held.max_grants END,
             child_count = session.child_count + 1
      FROM held JOIN passed USING (n) WHERE session.id = held.parent_id
    ), `
        : ''
    }opened AS (
      INSERT INTO session (id, agent, manifest_version, parent_id, root_id, task_type, inputs, on_behalf_of, declared_on_behalf_of, started_by, responsible, principal_root, capabilities,
                           narrowed, subject, dpop_jkt, status, max_grants, opened_at, expires_at, heartbeat_deadline, proof, agent_seq)
      SELECT r.id, r.agent, r.manifest_version, r.parent_id, r.root_id, r.task_type, r.inputs, r.on_behalf_of, r.declared_on_behalf_of, r.started_by, r.responsible, r.principal_root,
             r.capabilities, r.narrowed, r.subject, r.dpop_jkt, 'active', r.max_grants, r.at, r.expires_at, r.heartbeat_deadline, r.proof, passed.agent_seq
      FROM passed JOIN r USING (n)
      RETURNING id
    ), event AS (
      ${appendEvent({ chain: 'id', at: 'at', type: event('session.opened'), actor: 'agent', request: 'request_id', payload: 'audit' }, 'r JOIN opened USING (id) ORDER BY id')}
    )
    SELECT n, CASE WHEN NOT judged.fresh THEN ARRAY(SELECT unnest(judged.keys) EXCEPT SELECT key FROM once WHERE once.n = judged.n AND once.free)
                   WHEN may_burn.n IS NOT NULL AND passed.n IS NULL THEN ARRAY(SELECT unnest(judged.keys) EXCEPT SELECT key FROM burnt) END AS stale,
           judged.within_rate${limited ? ' AND (placed.n IS NULL OR may_burn.n IS NOT NULL)' : ''} AS within_rate,
           judged.owner_gone, judged.locked, opened.id IS NOT NULL AS opened
    FROM judged ${limited ? 'LEFT JOIN placed USING (n) ' : ''}LEFT JOIN may_burn USING (n) LEFT JOIN passed USING (n) LEFT JOIN opened ON opened.id = judged.id`,
  };
}

/** What a statement provides for; what it does not is not among its rows. */
interface Variant {
  child: boolean;
  /** Sessions of one agent in a minute are limited. */
  limited: boolean;
  /** Something shown may be shown again by the same key. */
  reshown: boolean;
}

const variants = [false, true].flatMap((child) =>
  [false, true].flatMap((limited) => [false, true].map((reshown): Variant => ({ child, limited, reshown }))),
);
const insertStatements = variants.map((variant) => ({ ...variant, statement: insertStatementFor(variant) }));
export const openStatements: readonly Statement[] = insertStatements.map(({ statement }) => statement);

function insertStatement({ child, limited, reshown }: Variant): Statement {
  return insertStatements.find((one) => one.child === child && one.limited === limited && one.reshown === reshown)!
    .statement;
}

/** The parent a child session is opened under. */
export interface Parent {
  id: string;
  rootId: string;
  expiresAt: Date;
  act: ActorChain | null;
  capabilities: string[];
  narrowed: boolean;
  /** Grants it may still ask for; null = no limit. */
  grantsLeft: number | null;
}

export interface OpenSessionInput {
  principal: Principal;
  declaration: TaskDeclaration;
  jkt: string | null;
  /** What was shown besides the principal's: the request's proof. */
  shown: OneTime[];
  /** Of a session that is nobody's child; null = all that its task allows. */
  narrowedTo: Narrowing | null;
  /** For a sub-agent: the parent and the capabilities it is narrowed to. */
  child: { parent: Parent; capabilities: string[] } | null;
  requestId: string | null;
}

/** What may come of judging a request by a manifest that was replaced meanwhile. */
const staleAnswers = new Set(['conflict', 'invalid_authorization_details', 'invalid_scope']);

/**
 * Opens a session, in one round trip: the manifest that this process saw last is most often still in force,
 * and the statement checks it. Where it was replaced, nothing has been written or used up, and the one in
 * force is asked for; no request is refused by a manifest that no longer holds.
 *
 * @throws WritError `invalid_grant` (no such agent, shown before), `invalid_client` and `invalid_dpop_proof`
 *   (shown before), `invalid_authorization_details`, `invalid_scope`, `rate_limited`, `locked`,
 *   `owner_gone`, `conflict`
 */
export async function openSession(deps: OpenSessionDeps, input: OpenSessionInput): Promise<OpenedSession> {
  const { agent } = input.principal;
  const seen = await deps.catalog.lastSeen(agent);
  if (seen !== null) {
    try {
      return await openUnder(deps, seen, input);
    } catch (error) {
      if (!(error instanceof WritError && staleAnswers.has(error.code))) throw error;
      if ((await deps.catalog.current(agent))?.version === seen.version) throw error;
    }
  }
  const published = await deps.catalog.current(agent);
  if (published === null) throw new WritError('invalid_grant', { detail: 'The agent has no manifest here.' });
  return openUnder(deps, published, input);
}

async function openUnder(
  deps: OpenSessionDeps,
  published: PublishedManifest,
  input: OpenSessionInput,
): Promise<OpenedSession> {
  const { principal, declaration, child } = input;
  const { manifest } = published.compiled;

  const task = declareTask(manifest, declaration);
  const narrowedTo = child?.capabilities ?? narrowed(manifest, task.task_type, input.narrowedTo);
  const { onBehalfOf } = principal;
  const declared = declaredPerson(declaration.on_behalf_of, onBehalfOf);

  // The tightest bound applies: settings, manifest, task type, declaration, parent.
  const now = deps.clock.now();
  const taskEnvelope = member(manifest.task_types, task.task_type)?.envelope;
  const wallTime = Math.min(
    deps.maxWallTimeSeconds,
    ...defined(manifest.envelope.wall_time, taskEnvelope?.wall_time, declaration.envelope.wall_time_seconds),
  );
  const grantBounds = defined(
    manifest.envelope.max_grants,
    taskEnvelope?.max_grants,
    declaration.envelope.max_grants,
    child?.parent.grantsLeft ?? undefined,
  );
  // Null where nobody bounds it: the statement that writes a grant knows the ceiling. A child would take a
  // number from its parent at once, and one without a number leaves it what it has.
  const maxGrants = grantBounds.length === 0 ? null : Math.min(deps.maxGrantsPerSession, ...grantBounds);
  const wanted = new Date(now.getTime() + wallTime * 1000);
  const expiresAt = child !== null && child.parent.expiresAt < wanted ? child.parent.expiresAt : wanted;
  const deadline = new Date(now.getTime() + deps.heartbeat.seconds * deps.heartbeat.misses * 1000);

  const id = newId('ses', now);
  const attested = principal.claims === undefined ? null : attestedClaims(manifest, principal.claims);
  const subject: JsonObject = { ...(attested === null ? {} : { attested }), ...principal.subject };
  const act: ActorChain | null =
    child === null
      ? null
      : { sub: `${principal.agent}/${id}`, act: child.parent.act ?? { sub: `${principal.agent}/${child.parent.id}` } };
  const columns = {
    id,
    agent: principal.agent,
    manifest_version: published.version,
    parent_id: child?.parent.id ?? null,
    root_id: child?.parent.rootId ?? id,
    task_type: task.task_type,
    inputs: task.inputs,
    on_behalf_of: onBehalfOf,
    declared_on_behalf_of: declared,
    started_by: principal.startedBy,
    responsible: principal.responsible,
    capabilities: narrowedTo ?? [],
    narrowed: narrowedTo !== null,
    subject: act === null ? subject : { ...subject, act },
    dpop_jkt: input.jkt,
    max_grants: maxGrants,
  };
  const until = expiresAt.toISOString();
  const oneTimes = [...principal.shown, ...input.shown];
  const row = await batch<{
    n: number;
    /** Keys of what had been shown before. */
    stale: string[] | null;
    within_rate: boolean;
    /** Null: the manifest is not in force. */
    owner_gone: boolean | null;
    locked: LockLevel | null;
    opened: boolean;
  }>(
    deps.store,
    insertStatement({
      child: child !== null,
      limited: deps.sessionsPerMinute > 0,
      reshown: oneTimes.some(({ boundTo }) => boundTo !== null),
    }),
    {
      keys: oneTimes.map((value) => value.key),
      keys_until: oneTimes.map((value) => value.expiresAt.toISOString()),
      keys_bound: oneTimes.map((value) => value.boundTo),
      per_minute: deps.sessionsPerMinute,
      at: now.toISOString(),
      owner: manifest.owner,
      ...columns,
      expires_at: until,
      proof: deps.store.proofs.make('session', { ...columns, opened_at: now, expires_at: expiresAt }),
      principal_root: onBehalfOf === null ? principal.agent : `${principal.agent} for ${userText(onBehalfOf)}`,
      heartbeat_deadline: deadline.toISOString(),
      request_id: input.requestId,
      audit: eventPayload('session.opened', {
        task,
        subject,
        manifest_version: published.version,
        expires_at: until,
        ...(onBehalfOf === null ? {} : { on_behalf_of: onBehalfOf }),
        ...(declared === null ? {} : { declared_on_behalf_of: declared }),
        ...(principal.startedBy === null ? {} : { started_by: principal.startedBy }),
        ...(principal.responsible === null ? {} : { responsible: principal.responsible }),
        ...(child === null ? {} : { parent: child.parent.id }),
        ...(narrowedTo === null ? {} : { capabilities: narrowedTo }),
        dpop: input.jkt !== null,
      }),
    },
    child?.parent.id ?? null,
  );
  if (row === undefined || !row.opened) {
    if (row?.owner_gone === null)
      throw new WritError('conflict', { detail: 'The manifest was replaced just now; try again.' });
    if (row?.locked != null) throw new WritError('locked', { extensions: { level: row.locked } });
    if (row?.owner_gone === true) throw new WritError('owner_gone');
    if (row !== undefined && row.stale !== null) throw usedBefore(oneTimes, row.stale);
    if (row?.within_rate === false) throw new WritError('rate_limited', { retryAfterSeconds: 10 });
    throw new WritError('session_ended', { detail: 'The parent session has ended or has no grants left to hand on.' });
  }
  const token = await deps.tokens.mint({
    id,
    agent: principal.agent,
    taskType: task.task_type,
    jkt: input.jkt,
    act,
    expiresAt,
  });
  const bounds = { from: now, expiresAt, maxGrants };
  return {
    id,
    agent: principal.agent,
    expiresAt,
    token,
    task: taskAsItHolds(task, bounds, { vouched: onBehalfOf, declared }),
    scope: askable(manifest, task.task_type, narrowedTo),
  };
}

/**
 * @throws WritError `invalid_scope`, `invalid_authorization_details` where the task does not allow one of
 *   them
 */
function narrowed(manifest: Manifest, taskType: string, wish: Narrowing | null): string[] | null {
  if (wish === null) return null;
  const allowed = askable(manifest, taskType, null);
  const unknown = wish.names.find((name) => !allowed.includes(name));
  if (unknown === undefined) return [...new Set(wish.names)];
  const all = allowed.length === 0 ? 'it has none' : allowed.join(', ');
  throw refuseWish(wish, wish.names.indexOf(unknown), `is not one of the task’s capabilities: ${all}`);
}

/** Refuses one name of what was wished for. */
export function refuseWish(wish: Narrowing, index: number, message: string): WritError {
  if (wish.path === 'scope')
    return new WritError('invalid_scope', { errors: [{ path: 'scope', message: `${wish.names[index]}: ${message}` }] });
  return new WritError('invalid_authorization_details', { errors: [{ path: `${wish.path}[${index}]`, message }] });
}

function declareTask(manifest: Parameters<typeof checkTask>[0], declaration: TaskDeclaration): Task {
  const checked = checkTask(manifest, declaration.task_type, declaration.inputs);
  if (checked.ok) return checked.task;
  throw new WritError('invalid_authorization_details', {
    errors: checked.faults.map((fault) => ({ ...fault, path: `authorization_details[0].${fault.path}` })),
  });
}

/**
 * Whom the agent says it acts for, in one spelling. Null when it says nothing, or no more than is vouched.
 * @throws WritError `invalid_authorization_details` when it is malformed, or not whom the platform names
 */
function declaredPerson(text: string | null, vouched: VouchedPerson | null): string | null {
  if (text === null) return null;
  const named = readUser(text);
  if (named === null || looksLikeToken(named.value))
    throw refused('on_behalf_of', 'must be user:<e-mail>, user:<kind>:<name> or user:<name>');
  if (vouched === null) return userText(named);
  const same = maySame(vouched, named);
  if (!same) throw refused('on_behalf_of', 'is not whom the platform says the run is for');
  return null;
}

function refused(path: string, message: string): WritError {
  const errors: FieldFault[] = [{ path: `authorization_details[0].${path}`, message }];
  return new WritError('invalid_authorization_details', { errors });
}

const defined = (...values: (number | undefined)[]): number[] => values.filter((value) => value !== undefined);
