/**
 * The closed list of what the record can say: each event type, what it means, and the payload it carries. The
 * statements that write events, the timeline's words (`words.ts`), the HTTP schema and the reference page are
 * derived from it. `npm run check` refuses a type that no statement writes; the compiler refuses a row
 * (`append.ts`) whose type is named in any other way than by `event`, `eventBy`, `eventAmong` or `eventWhen`.
 *
 * To add an event: an entry here, its words in `words.ts`, and `event('…')` in the statement that makes the
 * change.
 */
import { z } from 'zod';
import { type ErrorCode, errorTable } from '../core/errors.ts';
import { passkeyPurposes } from '../core/passkey-evidence.ts';
import {
  codesOf,
  decisionReasons,
  endReasons,
  misuseReasons,
  passkeyRefusals,
  preApprovalEnds,
  refusalReasons,
  reviewBlockers,
  revokeReasons,
  signalEffects,
  signalRefusals,
} from '../core/reasons.ts';
import { type JsonObject, lockLevels, type Plan } from '../core/vocabulary.ts';
import { callEffects } from '../decide/effects.ts';

const text = z.string();
const count = z.int().min(0);
const time = z.iso.datetime({ offset: true });
const object = z.record(z.string(), z.unknown()) as unknown as z.ZodType<JsonObject>;
const plan = z.strictObject({
  provider: text,
  permission: object,
  ttl_seconds: count,
  state: z.strictObject({ round: count, seen: object }).optional(),
}) as z.ZodType<Plan>;
const decisionReason = z.enum(codesOf(decisionReasons));
const errorCode = z.enum(Object.keys(errorTable) as ErrorCode[]);
const reasons = z.array(
  z.strictObject({
    code: decisionReason,
    policy_id: text.optional(),
    path: text.optional(),
    advice: text.optional(),
  }),
);
const faults = z.array(z.strictObject({ path: text, message: text, line: count.optional(), column: count.optional() }));

/** What policy said about a request. */
const decided = z.strictObject({
  capability: text,
  params: object,
  plan,
  plan_digest: text,
  effect: z.enum(['allow', 'deny', 'approve']),
  tier: count,
  reasons,
  policy_ids: z.array(text),
  manifest_version: count,
  /** The agent's own words: shown, never trusted. */
  justification: text.optional(),
});

/** What policy said about a tool call. */
const called = z.strictObject({
  action_id: text,
  tool: text,
  /** Each argument as type, keyed digest and preview. */
  arguments: object,
  effect: z.enum(callEffects),
  reasons,
  policy_ids: z.array(text),
  /** Rules whose conditions held, those included that only flag. */
  hits: z.array(text),
  labels: z.array(text),
  cost_micro_usd: count,
  manifest_version: count,
  /** What prompted it, as the host names it: a reference, never the words. */
  prompted_by: text.optional(),
  /** People who agreed to it, and the action by which they were asked. */
  approved_by: z.array(text).optional(),
  asked_as: text.optional(),
});

/** Why a snapshot did not allow a call that was made on the strength of it. */
export const uncoveredBy = [
  'no_snapshot',
  'outside_its_life',
  'tool_not_in_it',
  'argument_outside',
  'after_the_end',
] as const;
export type Uncovered = (typeof uncoveredBy)[number];

/** What a rule did to a session, and what was asked for when it did. */
const restrained = z.strictObject({
  /** The tool, or the capability. */
  asked: text,
  rules: z.array(text),
  /** The question to people whether it is lifted. */
  question: text,
});

/** What a person said about it. `reason` is their own text. */
const reviewed = z.strictObject({
  review_id: text,
  capability: text,
  reviewer: object,
  channel: text,
  reason: text.nullable(),
  seen_digest: text,
  plan_digest: text,
  ttl_seconds: count,
  planned_ttl_seconds: count,
  /** Decided together with others: the request that lists them. */
  batch: text.optional(),
  /** Of a batch: members that were taken out, and are denied. */
  taken_out: z.array(text).optional(),
  /** Of a request that takes a challenge. */
  challenge: z.literal('passed').optional(),
  /** In how many seconds, where that is faster than what was shown can be read. */
  hasty_seconds: count.optional(),
  /** Whoever was that fast was warned, and confirmed it. */
  hasty_confirmed: z.literal(true).optional(),
  /** Members of lists among the parameters that were left out, as JSON Pointers. */
  left_out: z.array(text).optional(),
  /** What was lowered: JSON Pointer into the parameters → to what. */
  lowered: z.record(text, text).optional(),
  /** Of tier 3: what the reviewer's passkey signed, for whoever verifies it later. */
  passkey: object.optional(),
});

const lapsed = z.strictObject({
  capability: text,
  reason: decisionReason.extract([
    'timeout',
    'not_redeemed',
    'manifest_narrowed',
    'owner_changed',
    'approver_signed_off',
    'state_changed',
    'withdrawn',
    'cancelled',
  ]),
  plan_digest: text,
});
const endedWithSession = z.strictObject({
  reason: decisionReason.extract(['session_ended', 'session_suspended', 'session_asleep', 'withheld', 'locked']),
});
const minted = z.strictObject({ provider: text, expires_at: time, plan_digest: text });
const mintFailed = z.strictObject({ code: text, provider_code: text.nullable(), may_have_minted: z.boolean() });
const revoking = z.strictObject({
  reason: z.enum(codesOf(revokeReasons)),
  /** An admin's own words. */
  because: text.optional(),
  /** Of a neighbour that was cut off: the agents whose denials fill the document, most first. */
  denied_beside: z
    .array(z.strictObject({ agent: text, denials: count }))
    .nullable()
    .optional(),
});
/** The provider's answer to one attempt to revoke. */
const attempted = z.strictObject({ error: text.nullable(), evidence: object.nullable() });
/** How many more refusals of a source there were in a minute, beyond those that have rows of their own. */
const summed = z.strictObject({ code: errorCode.extract(['rate_limited']), source: text, dropped: count });
const person = z.strictObject({
  issuer: text,
  subject: text,
  groups: z.array(text),
  aliases: z.array(z.union([z.strictObject({ kind: text, value: text }), text])),
  groupsUnknown: z.boolean().optional(),
  email: text.optional(),
  emailVerified: z.boolean().optional(),
  username: text.optional(),
  name: text.optional(),
});
/** A person whom somebody other than the agent names; in rows written before 2026-11-26 a text. */
const vouched = z.union([
  z.strictObject({ kind: text, value: text, issuer: text.optional(), by: z.enum(['platform_token']) }),
  text,
]);
const nothing = z.strictObject({});
const locked = z.strictObject({ lock: text, level: z.enum(lockLevels), subject: text, reason: text });
/** `signal` is the `jti` of the token, `event` its event type. */
const signalled = z.strictObject({ stream: text, signal: text, event: text, via: z.enum(['push', 'poll']) });
/** Of a break-glass. */
const broken = z.strictObject({ break_glass: text, agent: text });
/**
 * A request that was refused at the door. `route` is ours (`/v1/grants/:id`), never the address that was
 * sent.
 */
const refusedRequest = z.strictObject({
  code: errorCode,
  method: z.enum(['GET', 'POST', 'PUT', 'DELETE', 'OTHER']),
  route: text,
  from: text,
});

interface EventEntry {
  /** For the reference page. */
  meaning: string;
  /** Every shape its payload has: one for each way in which it comes about. */
  payload: readonly [z.ZodObject, ...z.ZodObject[]];
}

export const events = {
  'session.opened': {
    meaning: 'A session was opened for one task.',
    payload: [
      z.strictObject({
        task: z.strictObject({ task_type: text, inputs: object }),
        subject: object,
        manifest_version: count,
        expires_at: time,
        on_behalf_of: vouched.optional(),
        /** The agent's own word. */
        declared_on_behalf_of: text.optional(),
        started_by: vouched.optional(),
        responsible: text.optional(),
        parent: text.optional(),
        capabilities: z.array(text).optional(),
        dpop: z.boolean(),
      }),
    ],
  },
  'session.refused': {
    meaning:
      'A request to open a session was refused. `agent`: whose it was, where that was verified; `errors`: what was wrong with the task, without the agent’s own words.',
    payload: [
      z.strictObject({
        code: errorCode,
        reason: z.enum(codesOf(refusalReasons)).nullable(),
        token_sha256: text.nullable(),
        agent: text.optional(),
        errors: faults.optional(),
      }),
      summed,
    ],
  },
  'session.misused': {
    meaning:
      'A token of the session came without a proof that holds, as a thief would send it; `reason` says what was wrong. With `dropped`: how many more there were in that minute.',
    payload: [z.strictObject({ reason: z.enum(codesOf(misuseReasons)), from: text }), summed],
  },
  'request.refused': {
    meaning:
      'A request was refused that leaves no other row: without authority, for what is somebody else’s, malformed, or a sign-in that failed. With `dropped`: how many more there were in that minute.',
    payload: [refusedRequest, summed],
  },
  'session.ended': {
    meaning: 'A session ended; its leases are being revoked. `because`: an admin’s own words.',
    payload: [z.strictObject({ reason: z.enum(codesOf(endReasons)), because: text.optional() })],
  },
  'grant.refused': {
    meaning:
      'A request came to no grant: no such capability, malformed parameters, or an approval that no longer holds.',
    payload: [
      z.strictObject({ capability: text, code: errorCode, errors: faults }),
      z.strictObject({ grant_id: text, code: errorCode, reasons }),
      summed,
    ],
  },
  'grant.allowed': {
    meaning: 'Policy alone allowed a grant; the intent to mint was written down.',
    payload: [decided],
  },
  'grant.pending': { meaning: 'A grant waits for a person.', payload: [decided] },
  'grant.denied': {
    meaning: 'A grant was denied: by policy, by a person, or because nobody decided in time.',
    payload: [decided, reviewed, lapsed, endedWithSession],
  },
  'grant.approved': { meaning: 'A person approved the plan of a grant.', payload: [reviewed] },
  'grant.sent_back': {
    meaning: 'The agent came for an approved grant, and what it is about had changed: people are asked again.',
    payload: [
      z.strictObject({ capability: text, was_digest: text, plan_digest: text, was: object, now: object, round: count }),
    ],
  },
  'grant.redeemed': {
    meaning: 'The agent came for an approved grant; the intent to mint was written down.',
    payload: [z.strictObject({ plan_digest: text, approved_by: z.array(text), ttl_seconds: count })],
  },
  'grant.approval_kept': {
    meaning:
      'The mint of an approved grant had no effect, and another may: the approval stands until its own deadline.',
    payload: [z.strictObject({ plan_digest: text, redeem_by: time })],
  },
  'grant.ended': { meaning: 'A grant is over.', payload: [endedWithSession] },
  'action.allowed': { meaning: 'A tool call was allowed.', payload: [called] },
  'action.pending': { meaning: 'A tool call waits for a person.', payload: [called] },
  'action.denied': {
    meaning: 'A tool call was denied; `effect` says what became of its session by it.',
    payload: [called],
  },
  'action.reported': {
    meaning:
      'The agent’s host made a tool call on the strength of a snapshot, and reported it afterwards. `effect` is what would have been decided; `uncovered`, why the snapshot did not allow it. Where either stands against it, somebody should look at the host.',
    payload: [
      called.extend({
        /** Its id; null where the host had none that holds. */
        snapshot: text.nullable(),
        /** As the host says. */
        made_at: time,
        uncovered: z.array(z.enum(uncoveredBy)),
      }),
    ],
  },
  'credential.leaked': {
    meaning:
      'A credential that Writ issued stood in the arguments of a call, or in what came back of one. It is being revoked; somebody should look at the agent.',
    payload: [z.strictObject({ tool: text, seen_in: z.enum(['arguments', 'output']), leases: z.array(text) })],
  },
  'canary.touched': {
    meaning:
      'A call or a request named a decoy of the manifest, which no honest run has a reason to. Its session ends by it, and somebody should look at the agent.',
    payload: [z.strictObject({ canaries: z.array(text), tool: text.optional(), capability: text.optional() })],
  },
  'session.suspended': {
    meaning: 'A rule froze a session and its sub-agents: what they hold is revoked, and they wait for a person.',
    payload: [restrained],
  },
  'session.narrowed': {
    meaning: 'A rule took tools or capabilities from a session and its sub-agents.',
    payload: [restrained.extend({ withheld: z.array(text) })],
  },
  'session.slept': {
    meaning:
      'A session went to sleep while people decide: what it held is revoked, its wall time stands still, and it ends by itself at `until` unless its agent wakes it.',
    payload: [z.strictObject({ until: time, left_seconds: count })],
  },
  'session.woken': {
    meaning: 'The same workload woke its session. `new_key`: it is bound to another key now.',
    payload: [z.strictObject({ expires_at: time, new_key: z.boolean() })],
  },
  'session.lifted': {
    meaning: 'A person let a suspended session go on, or gave back what a rule had taken.',
    payload: [z.strictObject({ review_id: text, withheld: z.array(text) })],
  },
  'action.finished': {
    meaning: 'The agent’s host reported how a tool call came out.',
    payload: [
      z.strictObject({
        action_id: text,
        tool: text,
        outcome: z.enum(['response', 'error']),
        labels: z.array(text),
        output_digest: text.nullable(),
        /** As reported; absent = the estimate stands. */
        cost_micro_usd: count.optional(),
        /** What it turned out to touch: of each type, a keyed digest and a preview. */
        entities: z.array(object).optional(),
      }),
    ],
  },
  'arguments.opened': {
    meaning:
      'Somebody opened the values of a tool call’s arguments: of one on record, or of one that waits for a person.',
    payload: [z.strictObject({ tool: text, action_id: text.optional() })],
  },
  'session.words_said': {
    meaning: 'The agent’s host reported what the person said; no text of it is kept.',
    payload: [z.strictObject({ digest: text, words: count })],
  },
  'action.unfinished': {
    meaning: 'A session ended before the outcome of these calls was reported.',
    payload: [z.strictObject({ calls: count })],
  },
  'review.approved': {
    meaning: 'A person approved the plan of a grant that more than one must approve; it waits for the others.',
    payload: [reviewed],
  },
  'review.refused': {
    meaning: 'Somebody who may not decide on a grant tried to.',
    payload: [
      z.strictObject({
        refused_because: z.enum(codesOf(reviewBlockers)),
        verdict: z.enum(['approve', 'deny']),
        capability: text,
        reviewer: object,
        channel: text,
      }),
    ],
  },
  'lease.issued': { meaning: 'A credential was minted and delivered.', payload: [minted] },
  'lease.withheld': {
    meaning: 'A credential was minted after its session had ended; it was not delivered and is being revoked.',
    payload: [minted],
  },
  'lease.failed': { meaning: 'The provider minted nothing.', payload: [mintFailed] },
  'lease.revoking': { meaning: 'Revocation began.', payload: [revoking, mintFailed] },
  'lease.settling': {
    meaning: 'The provider took the order; its lag has not passed yet.',
    payload: [attempted],
  },
  'lease.revoke_failed': {
    meaning: 'An attempt to revoke failed; it will be tried again until the natural end.',
    payload: [attempted],
  },
  'lease.revoked': {
    meaning: 'The provider’s word, read back where it can be, shows that the credential is dead.',
    payload: [attempted],
  },
  'lease.expired': { meaning: 'The credential reached its natural end.', payload: [attempted, revoking] },
  'pool.released': {
    meaning: 'A pool member may be used again: the last credential minted on it has expired, or none was minted on it.',
    payload: [z.strictObject({ provider: text, member: text })],
  },
  'manifest.published': {
    meaning: 'A manifest version came into force.',
    payload: [z.strictObject({ version: count, sha256: text, reason: text })],
  },
  'agent.owner_gone': {
    meaning:
      'The identity provider signalled that the account of the agent’s owner is disabled or gone. The agent’s sessions end at `ends_at`, unless it is taken over.',
    payload: [z.strictObject({ owner: text, since: time, signal: text, event: text, ends_at: time })],
  },
  'agent.owner_taken_over': {
    meaning: 'A manifest version that names another owner came into force, after the owner was gone.',
    payload: [z.strictObject({ owner: text, from: text, version: count })],
  },
  'agent.owner_back': {
    meaning: 'The identity provider signalled that the account of the agent’s owner is enabled again.',
    payload: [z.strictObject({ owner: text })],
  },
  'manifest.proposed': {
    meaning: 'A manifest version that allows more waits for another admin.',
    payload: [
      z.strictObject({ proposal: text, base_version: count, sha256: text, reason: text, widens: z.array(text) }),
    ],
  },
  'manifest.agreed': {
    meaning: 'Another admin agreed to a proposed manifest version, which came into force by it.',
    payload: [z.strictObject({ proposal: text, version: count, sha256: text })],
  },
  'manifest.refused': {
    meaning: 'A proposed manifest version was refused.',
    payload: [z.strictObject({ proposal: text, sha256: text, reason: text })],
  },
  'candidate.published': {
    meaning: 'A manifest began to decide beside the one in force, without effect.',
    payload: [z.strictObject({ number: count, sha256: text, reason: text })],
  },
  'candidate.withdrawn': {
    meaning: 'It decides beside no more; what it remembered was deleted.',
    payload: [z.strictObject({ number: count })],
  },
  'lock.set': {
    meaning:
      'An admin locked an agent, an owner, a capability, a provider, or everything: nothing is given under it any more, and what lives under it ends.',
    payload: [locked],
  },
  'lock.restored': {
    meaning:
      'The row of a lock was gone that the record says was never lifted: somebody who may not has changed the database. It stands again; a signed-in admin sets it anew before another can lift it.',
    payload: [locked],
  },
  'lock.lifted': { meaning: 'Another admin lifted a lock.', payload: [locked] },
  'break_glass.asked': {
    meaning:
      'Somebody asked to break the glass: to give an agent what the rules of its manifest refuse. Another person must agree.',
    payload: [
      broken.extend({
        session: text.nullable(),
        capabilities: z.array(text),
        reason: text,
        incident: text,
        seconds: count,
        person,
        passkey: text,
      }),
    ],
  },
  'break_glass.opened': {
    meaning: 'Another person agreed, and the glass is broken: until `expires_at`, unless somebody closes it.',
    payload: [broken.extend({ expires_at: time, person, passkey: text })],
  },
  'break_glass.used': {
    meaning: 'A grant was given by a break-glass. `instead_of` are the reasons that stood against it.',
    payload: [
      z.strictObject({
        break_glass: text,
        capability: text,
        plan_digest: text,
        ttl_seconds: count,
        instead_of: reasons,
        approved_by: z.array(text),
      }),
    ],
  },
  'break_glass.ended': {
    meaning:
      'A break-glass is over: its time was, or somebody closed it; what was given by it is being revoked. Or it never began: nobody agreed in time, or somebody refused.',
    payload: [
      broken.extend({
        how: z.enum(['expired', 'closed', 'lapsed', 'refused', 'signed_off']),
        /** The words of whoever closed or refused it. */
        because: text.optional(),
        review_due_at: time.nullable().optional(),
      }),
    ],
  },
  'break_glass.reviewed': {
    meaning: 'Somebody who was neither of the two reviewed a break-glass that is over, and says what to make of it.',
    payload: [broken.extend({ words: text, person })],
  },
  'break_glass.review_overdue': {
    meaning: 'A break-glass that is over was not reviewed in time. People are told once a day until it is.',
    payload: [broken.extend({ ended_at: time })],
  },
  'pre_approval.given': {
    meaning: 'An approver approved ahead of time what an agent will ask for, within bounds.',
    payload: [
      z.strictObject({
        agent: text,
        task_type: text,
        capability: text,
        bounds: object,
        max_uses: count,
        max_ttl_seconds: count,
        until: time,
        from_grant: text,
        giver: object,
        reason: text,
      }),
    ],
  },
  'pre_approval.used': {
    meaning: 'A request was approved by it, in the name of whoever gave it.',
    payload: [z.strictObject({ grant: text, session: text, number: count, max_uses: count })],
  },
  'pre_approval.ended': {
    meaning: 'It approves nothing more; what it approved and nobody has collected is denied, where it was withdrawn.',
    payload: [z.strictObject({ reason: z.enum(codesOf(preApprovalEnds)), agent: text, capability: text })],
  },
  'key.created': {
    meaning: 'A signing key was created.',
    payload: [z.strictObject({ kid: text, active_from: time })],
  },
  'key.withdrawn': {
    meaning: 'A signing key was withdrawn: it left the JWKS, and whatever it signed is refused.',
    payload: [z.strictObject({ kid: text })],
  },
  'admin.bootstrap': { meaning: 'The bootstrap token was made and printed once.', payload: [nothing] },
  'admin.bootstrap_expired': {
    meaning: 'An admin signed in, so the bootstrap token opens nothing any more.',
    payload: [nothing],
  },
  'person.signed_in': {
    meaning:
      'A person signed in. `method`, where it is not the ordinary way: `fresh_oidc`, told to sign in anew; `passkey`, while the identity provider did not answer.',
    payload: [person.extend({ method: z.enum(['fresh_oidc', 'passkey']).optional() })],
  },
  'person.forgotten': {
    meaning: 'The identity provider no longer confirms a person: nobody signs in as them with a passkey.',
    payload: [nothing],
  },
  'person.changed': {
    meaning:
      'The identity provider, asked again, says something else of a signed-in person: other groups, another name.',
    payload: [person],
  },
  'person.lapsed': {
    meaning: 'The identity provider, asked again, no longer confirms a signed-in person; the login ended.',
    payload: [nothing],
  },
  'person.signed_out': { meaning: 'A person signed out.', payload: [nothing] },
  'login.ended': {
    meaning: 'A login ended before its time. It has a chain of its own, so that no older copy of its row is one.',
    payload: [nothing],
  },
  'person.logins_ended': {
    meaning: 'An admin ended one login of a person, or all of them.',
    payload: [z.strictObject({ reason: text, issuer: text, subject: text, logins: count })],
  },
  'person.signed_off': {
    meaning: 'A signal of the identity provider ended a login.',
    payload: [z.strictObject({ signal: text, event: text })],
  },
  'passkey.registered': {
    meaning: 'A person registered a passkey. `by` is the passkey that vouched for it; null = a sign-in made for it.',
    payload: [
      z.strictObject({
        passkey_id: text,
        credential_id: text,
        public_key: text,
        sign_count: count,
        backed_up: z.boolean(),
        by: text.nullable(),
        issuer: text,
        subject: text,
      }),
    ],
  },
  'passkey.used': {
    meaning: 'A passkey signed for something. `sign_count` is its counter since.',
    payload: [
      z.strictObject({
        passkey_id: text,
        purpose: z.enum(passkeyPurposes),
        about: text,
        digest: text,
        sign_count: count,
      }),
    ],
  },
  'passkey.refused': {
    meaning: 'A passkey, or what one signed, was refused.',
    payload: [
      z.strictObject({
        reason: z.enum(codesOf(passkeyRefusals)),
        purpose: z.enum(passkeyPurposes),
        about: text,
        credential_id: text.nullable(),
      }),
    ],
  },
  'passkey.disabled': {
    meaning: 'A passkey’s counter went back, so that there may be a copy of it: it is good for nothing any more.',
    payload: [z.strictObject({ passkey_id: text, sign_count: count, last_count: count })],
  },
  'passkey.removed': {
    meaning: 'A passkey was removed, by its person or by an admin; logins that were made with passkeys ended with it.',
    payload: [z.strictObject({ passkey_id: text, by_admin: z.boolean(), reason: text.nullable() })],
  },
  'signal.received': {
    meaning:
      'The identity provider signalled something. `effect` says what it does here; `subject` are the names it gives of the person, as far as they can be compared.',
    payload: [
      z.strictObject({
        /** Its `jti`. */
        signal: text,
        event: text,
        effect: z.enum(signalEffects),
        subject: z.array(z.strictObject({ kind: text, value: text, issuer: text.optional() })),
        via: z.enum(['push', 'poll']),
      }),
    ],
  },
  'signal.refused': {
    meaning:
      'A Security Event Token was refused, or came from somebody who is not the transmitter. With `dropped`: how many more there were in that minute.',
    payload: [z.strictObject({ reason: z.enum(codesOf(signalRefusals)), token_sha256: text }), summed],
  },
  'signal.carried_out': {
    meaning:
      'A signal was carried out: what it ends has ended. Counts are of what was still to be ended when it was done last; `known` is false where nobody here has the names it gives.',
    payload: [
      z.strictObject({
        signal: text,
        event: text,
        known: z.boolean(),
        logins: count,
        approvals: count,
        sessions: z.array(text),
      }),
    ],
  },
  'stream.delivered': {
    meaning: 'The receiver of an event stream took what Writ signalled.',
    payload: [signalled],
  },
  'stream.refused': {
    meaning:
      'The receiver of an event stream refused what Writ signalled, so it is not sent again. `err` and `description` are its own words.',
    payload: [signalled.extend({ err: text, description: text })],
  },
  'stream.dropped': {
    meaning:
      'Events of a stream are signalled no more: nobody took them in time (`expired`), there were too many (`too_many`), or their rows were not written by this broker (`unproven`).',
    payload: [z.strictObject({ stream: text, events: count, reason: z.enum(['expired', 'too_many', 'unproven']) })],
  },
} as const satisfies { readonly [type: string]: EventEntry };

export type EventType = keyof typeof events;
/** What an event of this type carries: one of its shapes. */
export type EventPayload<T extends EventType> = z.output<(typeof events)[T]['payload'][number]>;

export const eventTypes = Object.keys(events) as EventType[];
export const isEventType = (type: string): type is EventType => Object.hasOwn(events, type);

/**
 * A payload on its way into a statement. It changes nothing; the compiler holds its members against the
 * event's shapes. A payload that a statement itself builds is held by the tests that read written rows
 * (`rows.test-support.ts`).
 */
export const eventPayload = <T extends EventType>(_type: T, payload: EventPayload<T>): EventPayload<T> => payload;

declare const eventName: unique symbol;
/** SQL text expression that gives an event's type. Only the functions below make one. */
export type EventName = string & { readonly [eventName]: true };
const named = (sql: string) => sql as EventName;

/** Names an event in a statement: its SQL text literal. */
export const event = (type: EventType): EventName => named(`'${type}'`);

/**
 * Names the event that follows from a value.
 * @param expression SQL text expression
 * @param byValue value → event; a value that is not there makes the statement fail, as an event without a
 * type cannot be
 */
export function eventBy(expression: string, byValue: { readonly [value: string]: EventType }): EventName {
  const branches = Object.entries(byValue).map(([value, type]) => `WHEN '${value}' THEN ${event(type)}`);
  return named(`CASE ${expression} ${branches.join(' ')} END`);
}

/** Names one of two events. @param condition SQL condition */
export const eventWhen = (condition: string, name: EventName, otherwise: EventName): EventName =>
  named(`CASE WHEN ${condition} THEN ${name} ELSE ${otherwise} END`);

/** Names one of these events, which the caller chooses by a parameter; any other makes the statement fail. */
export const eventAmong = (parameter: string, ...types: EventType[]): EventName =>
  named(`CASE WHEN ${parameter} IN (${types.map(event).join(', ')}) THEN ${parameter} END`);

type MemberNames<P> = P extends unknown ? keyof P : never;
type MemberOf<P, K> = P extends unknown ? (K extends keyof P ? P[K] : never) : never;
/** A payload as it is read: of any shape of its event, each member there or not. */
export type ReadPayload<T extends EventType> = {
  readonly [K in MemberNames<EventPayload<T>>]?: MemberOf<EventPayload<T>, K>;
};

/**
 * Reads a stored payload. Rows outlive the code that wrote them, so members are taken one by one: what does
 * not fit today's shapes is left out here, and stays in the row.
 */
export function readPayload<T extends EventType>(type: T, payload: JsonObject): ReadPayload<T> {
  const read: Record<string, unknown> = {};
  for (const { shape } of events[type].payload as EventEntry['payload']) {
    for (const [name, member] of Object.entries(shape)) {
      if (!Object.hasOwn(payload, name)) continue;
      const parsed = z.safeParse(member, payload[name]);
      if (parsed.success) read[name] = parsed.data;
    }
  }
  return read as ReadPayload<T>;
}

/** What keeps a payload from having any of its event's shapes; null when it has one. */
export function payloadFault(type: EventType, payload: unknown): string | null {
  const tried = (events[type].payload as EventEntry['payload']).map((shape) => shape.safeParse(payload));
  if (tried.some(({ success }) => success)) return null;
  return tried.map(({ error }) => (error === undefined ? '' : z.prettifyError(error))).join(' | ');
}
