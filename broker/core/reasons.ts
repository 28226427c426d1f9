/**
 * Every reason the broker gives, as closed lists: why a session ended, why a lease is revoked, why a grant
 * was not given, why a person may not review, why a proof was refused. Types, HTTP schemas, the timeline's
 * words and the reference pages are derived from these tables, so a new reason is one entry here and the
 * place that gives it. `npm run check` refuses an entry that nothing gives.
 */

/** What a reason says. */
export interface ReasonText {
  /** For the reference page: one or two sentences. */
  meaning: string;
  /** How a timeline goes on after a colon; without them it shows the code, its underscores as spaces. */
  words?: string;
}

type ReasonTable = { readonly [code: string]: ReasonText };

/** Why a session ended. */
export const endReasons = {
  ended_by_agent: { meaning: 'The agent ended it.', words: 'the agent said it was done' },
  token_revoked: {
    meaning: 'Its token was revoked (RFC 7009) by whoever held it.',
    words: 'its token was revoked',
  },
  heartbeat_missed: {
    meaning: 'No heartbeat came for `WRIT_HEARTBEAT_MISSES` times `WRIT_HEARTBEAT_SECONDS`.',
    words: 'its heartbeat was missed',
  },
  envelope_spent: { meaning: 'Its wall time was over.', words: 'its time was over' },
  parent_ended: { meaning: 'The session that opened it ended.', words: 'its parent session ended' },
  ended_by_admin: { meaning: 'An admin, or the agent’s owner, ended it.', words: 'an admin or its owner ended it' },
  locked: {
    meaning: 'An admin locked its agent, its owner, or everything.',
    words: 'an admin locked it',
  },
  slept_too_long: {
    meaning: 'It slept, and its agent did not wake it in time.',
    words: 'nobody woke it',
  },
  not_lifted: {
    meaning: 'A rule had suspended it, and a person said no to lifting that, or nobody said anything in time.',
    words: 'its suspension was not lifted',
  },
  ended_by_rule: {
    meaning: 'A rule of the manifest ended it, because of what it asked for.',
    words: 'a rule of the manifest ended it',
  },
  person_signed_off: {
    meaning: 'The identity provider signalled that the person it acted for, or who started it, is signed off.',
    words: 'the identity provider signed its person off',
  },
  owner_gone: {
    meaning:
      'The identity provider signalled that the account of its agent’s owner is disabled or gone, and nobody took the agent over in `WRIT_OWNER_GRACE_SECONDS`.',
    words: 'its agent’s owner is gone, and nobody took it over',
  },
} as const satisfies ReasonTable;
export type EndReason = keyof typeof endReasons;

/** Why a lease is being revoked, or came to its end. */
export const revokeReasons = {
  session_ended: { meaning: 'Its session ended.', words: 'the session ended' },
  session_suspended: { meaning: 'A rule suspended its session.', words: 'a rule suspended the session' },
  session_asleep: { meaning: 'Its session went to sleep.', words: 'the session went to sleep' },
  withheld: {
    meaning: 'A rule took the capability from its session.',
    words: 'a rule took it from the session',
  },
  admin: { meaning: 'An admin, or the agent’s owner, revoked it.', words: 'an admin or the owner revoked it' },
  break_glass_ended: {
    meaning: 'It was given while two people had broken the glass for it, and that is over.',
    words: 'the break-glass it was given by is over',
  },
  locked: { meaning: 'An admin locked its capability or its provider.', words: 'an admin locked it' },
  expired: {
    meaning: 'Its time was over; where the provider’s credential lives longer than the lease, it is revoked.',
    words: 'its time was over',
  },
  issue_timed_out: {
    meaning: 'The provider’s answer to the mint never arrived; a credential may exist all the same.',
    words: 'the provider’s answer never arrived',
  },
  mint_failed: {
    meaning: 'The mint failed; where a credential may exist all the same, it is revoked.',
    words: 'the mint failed',
  },
  not_delivered: {
    meaning: 'The credential was minted, but could not be handed to the agent.',
    words: 'it could not be delivered',
  },
  manifest_narrowed: {
    meaning: 'The manifest was replaced by one that no longer allows it.',
    words: 'the manifest in force no longer allows it',
  },
  credential_leaked: {
    meaning: 'It was seen in the arguments of a tool call, or in what came back of one.',
    words: 'it was seen in a tool call',
  },
  credential_repeated: {
    meaning: 'The provider gave another lease the same credential, so the two can only be ended together.',
    words: 'the provider gave the same credential twice',
  },
  denial_removed: {
    meaning:
      'Its denial was gone from the shared document, by somebody else’s hand, and was written again; meanwhile the credential may have worked.',
    words: 'its denial had been removed at the provider, and was written again',
  },
  neighbour_cut_off: {
    meaning: 'The shared deny document was full, so the provider ended every older credential under the same lock.',
    words: 'the deny document was full, so older credentials were ended too',
  },
} as const satisfies ReasonTable;
export type RevokeReason = keyof typeof revokeReasons;

/**
 * Revoke reasons that old rows hold and nothing gives any more. They stay as they are: an audit row cannot be
 * rewritten, and a lease that said otherwise than its audit row would raise a question with no answer.
 * Readers accept them.
 */
export const retiredRevokeReasons = {
  answer_lost: {
    meaning: 'What `issue_timed_out` was called in rows written before 2026-11-25.',
    words: revokeReasons.issue_timed_out.words,
  },
} as const satisfies ReasonTable;
export const storedRevokeReasons = { ...revokeReasons, ...retiredRevokeReasons } as const;

/** Why a grant was denied, or waits for a person: `reasons[].code` of a decision. */
export const decisionReasons = {
  needs_approval: {
    meaning: 'The capability is of tier 2 or 3: a person must approve. Comes with `pending`, not with a denial.',
  },
  param_not_bound_value: {
    meaning: 'A parameter differs from what the manifest fixes or binds to the task’s inputs. Leave it out.',
  },
  param_outside_choice: {
    meaning: 'A parameter is outside what the manifest lets the agent choose. `advice` says what is inside.',
  },
  ttl_too_long: { meaning: 'The lifetime is not between one second and the capability’s `max_ttl`.' },
  outside_session: { meaning: 'A child session was opened without this capability.' },
  delegate_only: {
    meaning: 'The session may hand the capability to a child session, and not use it itself.',
  },
  envelope_spent: {
    meaning: 'The session has asked for as many grants, or made as many calls, as its envelope allows.',
  },
  capability_spent: { meaning: 'The session has asked for this capability as often as the manifest allows.' },
  not_permitted: { meaning: 'No rule allows it: another task type, owner or provider than the manifest says.' },
  task_not_valid: {
    meaning: 'The task of the session does not fit the manifest in force, which may be newer than the session.',
  },
  capability_unknown: { meaning: 'The manifest in force has no such capability.' },
  tool_unknown: { meaning: 'The manifest in force does not list the tool.' },
  argument_outside: {
    meaning: 'An argument of the call is not as the manifest says, or is missing. `advice` says what would pass.',
  },
  rule: {
    meaning: 'A rule of the manifest stands against the call, given what was before it.',
    words: 'a rule of the manifest stands against it',
  },
  credential_in_arguments: {
    meaning: 'The call has a credential in it that Writ issued. It is revoked; keep the next one out of arguments.',
    words: 'a credential stood in its arguments',
  },
  team_policy: {
    meaning: 'A policy of the manifest’s `cedar` section forbids it. `advice` is the team’s own.',
    words: 'a policy of the team forbids it',
  },
  locked: {
    meaning: 'An admin locked the capability or its provider; `policy_id` says which of them.',
    words: 'an admin locked it',
  },
  separation_of_duties: {
    meaning: 'The same hand did another duty before that the manifest keeps apart from this one.',
    words: 'another duty was done by the same hand',
  },
  withheld: {
    meaning: 'A rule of the manifest took it from the session; a person may give it back.',
    words: 'a rule took it from the session',
  },
  field_missing: { meaning: 'A rule looks at something that the call does not have; `path` names it.' },
  agent_unknown: { meaning: 'The manifest in force is another agent’s.' },
  facts_not_valid: {
    meaning: 'A fact has the wrong type. Nobody should ever see this; the request is denied all the same.',
  },
  policy_failed: { meaning: 'A policy could not be evaluated. Denied, because Cedar would skip it.' },
  pre_approved: {
    meaning: 'A person had approved it ahead of time, within bounds. Comes with `approved`, not with a denial.',
    words: 'a person had approved it ahead of time',
  },
  denied_by_approver: { meaning: 'A person denied it; `advice` is their reason.', words: 'an approver said no' },
  timeout: {
    meaning:
      'Nobody decided in time: as the manifest says (`approval: { expires }`), else `WRIT_APPROVAL_TIMEOUT_SECONDS`.',
    words: 'nobody decided in time',
  },
  not_redeemed: {
    meaning: 'It was approved, and the agent did not collect it within `WRIT_REDEEM_TIMEOUT_SECONDS`.',
    words: 'the agent did not collect it in time',
  },
  manifest_narrowed: {
    meaning: 'The manifest was replaced by one that no longer allows it, before it was collected.',
    words: 'the manifest in force no longer allows it',
  },
  withdrawn: {
    meaning: 'Whoever had approved it took the approval back before the agent collected it. Ask again.',
    words: 'whoever had approved it took that back',
  },
  cancelled: {
    meaning: 'The agent took its own request back before anybody had decided it.',
    words: 'the agent took its request back',
  },
  owner_changed: {
    meaning:
      'A manifest came into force under which others own the agent or the capability. Ask again: the new owners decide.',
    words: 'its owners changed',
  },
  approver_signed_off: {
    meaning:
      'The identity provider signalled that somebody who had approved it is signed off. Ask again: somebody else decides.',
    words: 'the identity provider signed off who had approved it',
  },
  session_suspended: {
    meaning: 'A rule suspended the session before a person decided, or before the agent collected it.',
    words: 'a rule suspended the session',
  },
  state_changed: {
    meaning:
      'What the approval was about has changed since (a branch, rows): people are asked again, with the difference. Denied where that happened too often.',
    words: 'what it is about had changed since it was approved',
  },
  state_unreadable: {
    meaning:
      'The manifest wants people to approve the state of what it is about, and the provider could not read it. Nothing is given; ask again.',
    words: 'the state of what it is about could not be read',
  },
  session_asleep: {
    meaning: 'The session went to sleep, and its credential was revoked.',
    words: 'the session went to sleep',
  },
  denied_lately: {
    meaning:
      'A person denied the agent this very permission, or call, within `WRIT_DENIAL_COOLDOWN_SECONDS`. Nobody was asked.',
    words: 'a person had denied the same a short while before',
  },
  asked_too_often: {
    meaning:
      'A person would have to be asked, and the agent has had people asked `WRIT_APPROVAL_REQUESTS_PER_HOUR` times in the hour.',
    words: 'it had people asked too often',
  },
  too_many_waiting: {
    meaning: 'A person would have to be asked, and as many calls of the session as may already wait for one.',
  },
  break_glass: {
    meaning:
      'Two people broke the glass for it: it was given although a rule, or a missing approval, stood against it. Comes with a grant that was given; `policy_id` names the break-glass.',
    words: 'two people broke the glass for it',
  },
  session_ended: {
    meaning: 'The session ended before a person decided, or before the agent collected it.',
    words: 'the session ended',
  },
} as const satisfies ReasonTable;
export type DecisionReason = keyof typeof decisionReasons;

/** Why a pre-approval is over before its time and its number of uses. */
export const preApprovalEnds = {
  withdrawn: {
    meaning: 'Whoever gave it, or an admin, withdrew it.',
    words: 'it was withdrawn',
  },
  giver_signed_off: {
    meaning: 'The identity provider signalled that whoever gave it is signed off.',
    words: 'the identity provider signed off who gave it',
  },
  group_lost: {
    meaning: 'Whoever gave it is no longer in a group that made them an approver, as the identity provider says.',
    words: 'who gave it is in the group no more',
  },
  terms_changed: {
    meaning:
      'The manifest in force says something else of the capability, of the task type or of who approves than when it was given.',
    words: 'the manifest says something else now',
  },
} as const satisfies ReasonTable;
export type PreApprovalEnd = keyof typeof preApprovalEnds;

/** What stands between a person and a review of a grant. */
export const reviewBlockers = {
  party: {
    meaning:
      'The session acts for this person (as is vouched for, or as the agent says), or was started by them, or they are named as responsible for it.',
    words: 'nobody decides on their own request',
  },
  not_an_approver: {
    meaning:
      'The person is no approver of the agent or of the capability, or in none of the groups that the manifest asks.',
    words: 'not one of the approvers',
  },
  not_comparable: {
    meaning:
      'The session’s people are named by another kind of name than sign-in gives of this person, so nobody can tell them apart.',
    words: 'nobody could tell them from the one who started it',
  },
  edited_manifest: {
    meaning: 'The person wrote, or agreed to, a version of the agent’s manifest within `WRIT_EDITOR_COOLING_SECONDS`.',
    words: 'they had changed what the agent may do a short while before',
  },
  approved_already: {
    meaning: 'The person has approved it; where more than one must approve, each is another person.',
    words: 'they had approved it already',
  },
  other_plan: {
    meaning:
      'What was on the person’s screen is not the permission that stands: somebody narrowed it, or it is no permission of this request.',
    words: 'it was another permission that they answered',
  },
  no_passkey: {
    meaning:
      'The capability is of tier 3, and no passkey of this person signed for this very plan: none was used, or what it signed does not hold. `passkey.refused` says why.',
    words: 'no passkey of theirs signed for it',
  },
  no_answer: {
    meaning:
      'An approval of it takes a challenge, and this person answered none: none came, or one that is too old, used, or made for another page.',
    words: 'they had not picked the sentence that it says',
  },
  wrong_answer: {
    meaning: 'The person picked a sentence that the request does not say. For a minute they cannot approve it.',
    words: 'they picked a sentence that it does not say',
  },
  not_confirmed: {
    meaning:
      'It was decided faster than a person can read, and what came as the answer to the warning was made for something else, used, or too old.',
    words: 'they had confirmed something else, or nothing',
  },
} as const satisfies ReasonTable;
export type ReviewBlockerCode = keyof typeof reviewBlockers;

/** Why a passkey, or what one signed, was refused. */
export const passkeyRefusals = {
  unknown_challenge: {
    meaning: 'What was signed is no challenge of this broker’s, or one that is too old.',
    words: 'the challenge is unknown or too old',
  },
  other_challenge: {
    meaning: 'The challenge was made for another login, another person, or another thing.',
    words: 'the challenge was for something else',
  },
  replayed: { meaning: 'The challenge had been used before.', words: 'it had been used before' },
  malformed: { meaning: 'What came is no answer of an authenticator.', words: 'it is no answer of an authenticator' },
  unknown_passkey: {
    meaning: 'No passkey of this person: another’s, one that was removed or disabled, or one whose row does not hold.',
    words: 'it is no passkey of theirs',
  },
  wrong_origin: {
    meaning: 'It was made for the page of another site.',
    words: 'it was made for another site',
  },
  not_verified: {
    meaning: 'The authenticator did not verify the person: no PIN, fingerprint or the like.',
    words: 'the authenticator did not verify the person',
  },
  bad_signature: { meaning: 'Its signature does not hold.', words: 'its signature does not hold' },
  counter_went_back: {
    meaning:
      'Its signature counter did not rise: there may be a copy of the authenticator. The passkey is disabled by it.',
    words: 'its counter went back',
  },
  not_fresh: {
    meaning: 'A first passkey is registered in a sign-in that was begun for it, minutes ago; this login is none.',
    words: 'the person had not just signed in for it',
  },
  not_confirmed: {
    meaning:
      'The identity provider has not confirmed the person within `WRIT_PASSKEY_SIGN_IN_SECONDS`, or no longer does: nobody signs in as them without it.',
    words: 'the identity provider had not confirmed them lately',
  },
  registered_already: { meaning: 'The same authenticator is registered already.' },
} as const satisfies ReasonTable;
export type PasskeyRefusal = keyof typeof passkeyRefusals;

/** Why a proof of identity was refused. The caller reads one terse sentence; the audit row has the code. */
export const refusalReasons = {
  malformed: { meaning: 'It is not a token, assertion or proof of the expected form.' },
  unknown_issuer: { meaning: 'The trust file names no such issuer.' },
  unknown_client: { meaning: 'The trust file names no such client.' },
  algorithm_not_allowed: { meaning: 'It is signed with an algorithm that is not accepted.' },
  unknown_key: { meaning: 'The issuer publishes no such key.' },
  bad_signature: { meaning: 'Its signature does not hold.' },
  missing_claim: { meaning: 'It lacks a claim that is required.' },
  bad_claim: { meaning: 'A claim has a value that is not accepted.' },
  wrong_issuer: { meaning: 'It was issued by somebody else than it must be.' },
  wrong_audience: { meaning: 'It was issued for somebody else.' },
  expired: { meaning: 'It has expired.' },
  not_yet_valid: { meaning: 'It is not valid yet.' },
  too_old: { meaning: 'It was issued too long ago.' },
  lives_too_long: { meaning: 'It lives longer than is accepted.' },
  issuer_unavailable: { meaning: 'The issuer’s keys could not be fetched.' },
  no_binding: { meaning: 'No agent of the trust file is bound to it.' },
  ambiguous_binding: { meaning: 'More than one agent of the trust file is bound to it.' },
  unsupported_assertion_type: { meaning: 'The type of the client assertion is not supported.' },
  wrong_method: { meaning: 'The proof is for another HTTP method.' },
  wrong_url: { meaning: 'The proof is for another address.' },
  wrong_key: { meaning: 'The proof is made with another key than the token is bound to.' },
  wrong_token_hash: { meaning: 'The proof is for another token.' },
  stale_proof: { meaning: 'The proof was not made just now.' },
} as const satisfies ReasonTable;
export type RefusalReason = keyof typeof refusalReasons;

/** What was wrong with the proof beside a session token: one of the above, or one of these. */
export const misuseReasons = {
  ...refusalReasons,
  no_proof: { meaning: 'The token is bound to a key and came without a proof.' },
  sent_as_bearer: { meaning: 'The token is bound to a key and was sent as a bearer token.' },
  replayed: { meaning: 'The proof had been used before.' },
} as const satisfies ReasonTable;
export type MisuseReason = keyof typeof misuseReasons;

/** Why a Security Event Token was refused: one of the reasons for any proof, or one of these. */
export const signalRefusals = {
  ...refusalReasons,
  wrong_push_token: { meaning: 'It came without the transmitter’s bearer token.' },
} as const satisfies ReasonTable;
export type SignalRefusal = keyof typeof signalRefusals;

/**
 * What a signal about a person does. `sign_off`: logins end, what they approved lapses, sessions that act for
 * them or that they started end. `sign_off_owner`: that, and they are gone as the owner of agents.
 * `sign_out`: logins end. `owner_back`: they are gone as an owner no more. `none`: it is on record.
 */
export const signalEffects = ['sign_off', 'sign_off_owner', 'sign_out', 'owner_back', 'none'] as const;
export type SignalEffect = (typeof signalEffects)[number];

/** The codes of a table, for a schema. */
export const codesOf = <T extends ReasonTable>(table: T) => Object.keys(table) as (keyof T & string)[];

/**
 * A code of a table in plain words; one that is not in it (a row of another version) is shown by its name.
 */
export function reasonWords(table: ReasonTable, code: string): string {
  const known = Object.hasOwn(table, code) ? table[code]?.words : undefined;
  return known ?? code.replaceAll('_', ' ');
}

/** A code as an SQL text literal: the way a statement names a reason, so that the compiler knows it. */
const literal = (code: string): string => `'${code}'`;
export const endReason = (code: EndReason): string => literal(code);
export const revokeReason = (code: RevokeReason): string => literal(code);
export const decisionReason = (code: DecisionReason): string => literal(code);
export const preApprovalEnd = (code: PreApprovalEnd): string => literal(code);
