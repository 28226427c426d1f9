/**
 * Audit events in plain words: a sentence for every type of `events.ts`. The table is total: an event without
 * words, and words without an event, do not compile.
 */
import { duration } from '../core/duration.ts';
import { userText } from '../core/identifier.ts';
import {
  decisionReasons,
  endReasons,
  passkeyRefusals,
  preApprovalEnds,
  reasonWords,
  reviewBlockers,
  signalRefusals,
  storedRevokeReasons,
} from '../core/reasons.ts';
import type { JsonObject } from '../core/vocabulary.ts';
import { type EventType, isEventType, type ReadPayload, readPayload } from './events.ts';

export interface EventWords {
  /** good: granted or safely ended; bad: refused or failed; wait: somebody must act; plain: the rest. */
  tone: 'good' | 'bad' | 'wait' | 'plain';
  /** One sentence. Parts taken from the event are foreign text: show it as such. */
  text: string;
}

/** An event as its words see it. */
interface Told<T extends EventType> {
  actor: string;
  /** The capability it is about. */
  what: string;
  payload: ReadPayload<T>;
  /** `: why`, from the payload's reason code and a table of reasons; empty when it gives none. */
  because(table: Parameters<typeof reasonWords>[0]): string;
}

const became = (effect: string | undefined): string => {
  if (effect === 'terminate') return '; it ends the session';
  if (effect === 'suspend') return '; it suspends the session';
  return effect === 'downgrade' ? '; it narrows the session' : '';
};

const words: { [T in EventType]: (told: Told<T>) => EventWords } = {
  'session.opened': ({ actor, payload: { on_behalf_of: vouched, declared_on_behalf_of: declared } }) =>
    plain(
      `${actor} opened the session${forWhom(vouched)}${declared === undefined ? '' : `, as it says on behalf of ${declared}`}.`,
    ),
  'session.refused': ({ because, payload: { agent, code, errors: [fault] = [] } }) =>
    agent === undefined
      ? bad(`A session was refused${because({})}.`)
      : bad(`A session of ${agent} was refused: ${fault === undefined ? code : `${fault.path} ${fault.message}`}.`),
  'session.misused': ({ because, payload: { dropped } }) =>
    dropped === undefined
      ? bad(`The session’s token came without a proof that holds${because({})}.`)
      : bad(`The session’s token came without a proof that holds ${dropped} more times in a minute.`),
  'request.refused': ({ actor, payload: { code, method, route, dropped } }) =>
    dropped === undefined
      ? bad(`A request of ${actor} was refused: ${method ?? ''} ${route ?? ''}, ${code ?? ''}.`)
      : bad(`${dropped} more requests were refused in a minute.`),
  'session.ended': ({ because, payload }) => plain(`The session ended${because(endReasons)}${said(payload.because)}.`),
  'grant.refused': ({ actor, what, because, payload: { dropped } }) =>
    dropped !== undefined
      ? bad(`${actor} was refused ${dropped} more times in a minute.`)
      : bad(`${actor} asked for ${what} and was refused${because(decisionReasons)}.`),
  'grant.allowed': ({ what, payload }) => good(`Policy allowed ${what}${forTime(payload.plan?.ttl_seconds)}.`),
  'grant.pending': ({ actor, what }) => wait(`${actor} asked for ${what}; a person must decide.`),
  'grant.denied': ({ actor, what, payload: { reason }, because }) =>
    actor.startsWith('user:')
      ? bad(`${actor} denied ${what}${reason ? `: “${reason}”` : ''}.`)
      : bad(`${what} was denied${because(decisionReasons)}.`),
  'grant.approved': ({ actor, what, payload }) => good(`${actor} approved ${what}${forTime(payload.ttl_seconds)}.`),
  'grant.sent_back': ({ what }) =>
    wait(`What ${what} is about has changed since it was approved; people are asked again.`),
  'grant.redeemed': ({ what }) => plain(`The agent collects ${what}.`),
  'grant.approval_kept': ({ what }) =>
    wait(`No credential for ${what} yet; the approval stands, and the agent may collect again.`),
  'grant.ended': ({ what, because }) => plain(`${what} ended${because(decisionReasons)}.`),
  'action.allowed': ({ payload: { tool, hits } }) =>
    plain(`A call of ${tool ?? 'a tool'} was allowed${hits?.length ? `, flagged by ${hits.join(', ')}` : ''}.`),
  'action.denied': ({ payload: { tool, effect, reasons } }) =>
    bad(
      `A call of ${tool ?? 'a tool'} was denied${reasons?.length ? `: ${reasons.map(({ code }) => reasonWords(decisionReasons, code)).join(', ')}` : ''}${became(effect)}.`,
    ),
  'action.reported': ({ payload: { tool, effect, uncovered } }) =>
    effect === 'allow' && uncovered?.length === 0
      ? plain(`A call of ${tool ?? 'a tool'} was made on the strength of a snapshot, and reported.`)
      : bad(`A call of ${tool ?? 'a tool'} was made that would not have been allowed${became(effect)}.`),
  'credential.leaked': ({ payload: { tool, seen_in } }) =>
    bad(
      seen_in === 'output'
        ? `A call of ${tool ?? 'a tool'} gave back a credential that Writ had issued.`
        : `A call of ${tool ?? 'a tool'} had a credential in it that Writ had issued.`,
    ),
  'canary.touched': ({ payload: { canaries, tool, capability } }) =>
    bad(`${tool ?? capability ?? 'A request'} touched the decoy ${canaries?.join(', ') ?? ''}.`),
  'arguments.opened': ({ actor, payload: { tool } }) =>
    plain(`${actor} read the arguments of a call of ${tool ?? 'a tool'}.`),
  'action.pending': ({ actor, payload: { tool } }) =>
    wait(`${actor} wants to call ${tool ?? 'a tool'}; a person must decide.`),
  'session.suspended': ({ payload: { asked, rules } }) =>
    bad(`The session was suspended when it asked for ${asked ?? 'something'}, by ${rules?.join(', ') ?? 'a rule'}.`),
  'session.narrowed': ({ payload: { asked, withheld } }) =>
    bad(
      `When it asked for ${asked ?? 'something'}, the session lost ${withheld?.join(', ') ?? 'a part of what it may do'}.`,
    ),
  'session.slept': () => wait('The session went to sleep while people decide; what it held is being revoked.'),
  'session.woken': ({ actor, payload: { new_key } }) =>
    plain(`${actor} woke the session${new_key ? ', with another key' : ''}.`),
  'session.lifted': ({ actor, payload: { withheld } }) =>
    good(`${actor} let the session go on${withheld?.length ? `, without ${withheld.join(', ')}` : ''}.`),
  'action.finished': ({ payload: { tool, outcome } }) =>
    plain(`The call of ${tool ?? 'a tool'} ${outcome === 'error' ? 'failed' : 'was answered'}.`),
  'session.words_said': ({ actor, payload: { words: said } }) =>
    plain(`${actor} reported ${said ?? 'some'} words of the person.`),
  'action.unfinished': ({ payload: { calls } }) =>
    plain(`Of ${calls ?? 'some'} calls nobody reported how they came out.`),
  'review.approved': ({ actor, what, payload }) =>
    wait(`${actor} approved ${what}${forTime(payload.ttl_seconds)}; one more person must.`),
  'review.refused': ({ actor, what, because }) =>
    bad(`${actor} tried to decide on ${what} and was refused${because(reviewBlockers)}.`),
  'lease.issued': ({ what }) => good(`A credential for ${what} was issued.`),
  'lease.withheld': ({ what }) => bad(`A credential for ${what} was made too late and was not delivered.`),
  'lease.failed': ({ what }) => bad(`No credential for ${what}: the provider did not mint it.`),
  'lease.revoking': ({ what, because, payload }) =>
    plain(`The credential for ${what} is being revoked${because(storedRevokeReasons)}${said(payload.because)}.`),
  'lease.settling': ({ what }) =>
    wait(`The credential for ${what} is denied at the provider; the denial takes a moment to reach everywhere.`),
  'lease.revoke_failed': ({ what }) => bad(`Revoking the credential for ${what} failed; it is being tried again.`),
  'lease.revoked': ({ what }) => good(`The credential for ${what} is dead, on the provider’s word.`),
  'lease.expired': ({ what }) => good(`The credential for ${what} has expired at the provider.`),
  'pool.released': ({ payload: { provider, member } }) =>
    plain(`The pool member ${member ?? ''} of ${provider ?? 'its provider'} may be used again.`),
  'manifest.published': ({ actor, payload: { version } }) =>
    plain(`${actor} published a manifest${version === undefined ? '' : `, version ${version}`}.`),
  'agent.owner_gone': ({ payload: { owner, ends_at: end } }) =>
    bad(
      `The owner${owner === undefined ? '' : `, ${owner},`} is gone${end === undefined ? '' : `; sessions end at ${end}`}.`,
    ),
  'agent.owner_taken_over': ({ payload: { owner, from } }) =>
    good(`${owner ?? 'Somebody'} took it over${from === undefined ? '' : ` from ${from}, who is gone`}.`),
  'agent.owner_back': ({ payload: { owner } }) => good(`The owner${owner === undefined ? '' : `, ${owner},`} is back.`),
  'manifest.proposed': ({ actor, payload: { widens } }) =>
    wait(`${actor} proposed a manifest that allows more${widens?.length ? `: ${widens.slice(0, 3).join('; ')}` : ''}.`),
  'manifest.agreed': ({ actor, payload: { version } }) =>
    plain(`${actor} agreed to a manifest that allows more${version === undefined ? '' : `, now version ${version}`}.`),
  'manifest.refused': ({ actor }) => bad(`${actor} refused a proposed manifest.`),
  'candidate.published': ({ actor }) => plain(`${actor} let a candidate manifest decide beside, without effect.`),
  'candidate.withdrawn': ({ actor }) => plain(`${actor} withdrew the candidate manifest.`),
  'lock.set': ({ actor, payload }) => bad(`${actor} locked ${lockedWords(payload)}.`),
  'lock.restored': ({ payload }) => bad(`A lock that was gone stands again: ${lockedWords(payload)}.`),
  'lock.lifted': ({ actor, payload }) => good(`${actor} lifted the lock on ${lockedWords(payload)}.`),
  'break_glass.asked': ({ actor, payload: { agent, capabilities, incident } }) =>
    wait(
      `${actor} asked to break the glass for ${agent ?? 'an agent'}: ${capabilities?.join(', ') ?? 'something'}${incident === undefined ? '' : ` (${incident})`}.`,
    ),
  'break_glass.opened': ({ actor, payload: { agent } }) =>
    bad(`${actor} agreed: the glass is broken for ${agent ?? 'an agent'}.`),
  'break_glass.used': ({ what, payload: { approved_by } }) =>
    bad(
      `A credential for ${what} was given by a break-glass${approved_by?.length ? ` of ${approved_by.join(' and ')}` : ''}.`,
    ),
  'break_glass.ended': ({ actor, payload: { how, because } }) =>
    plain(
      {
        expired: 'The time of a break-glass was over.',
        lapsed: 'Nobody agreed to break the glass.',
        refused: `${actor} refused to break the glass${said(because)}.`,
        closed: `${actor} closed a break-glass${said(because)}.`,
        signed_off: 'The identity provider signed off one of the two of a break-glass, which is over.',
      }[how ?? 'expired'],
    ),
  'break_glass.reviewed': ({ actor, payload: { words: written } }) =>
    good(`${actor} reviewed a break-glass${said(written)}.`),
  'break_glass.review_overdue': () => bad('A break-glass was not reviewed in time.'),
  'pre_approval.given': ({ actor, payload: { agent, capability, max_uses } }) =>
    wait(
      `${actor} approved ahead of time: ${capability ?? 'a capability'} for ${agent ?? 'an agent'}, ${max_uses ?? 'some'} times.`,
    ),
  'pre_approval.used': ({ payload: { grant, number, max_uses } }) =>
    good(`It approved ${grant ?? 'a request'}, use ${number ?? '?'} of ${max_uses ?? '?'}.`),
  'pre_approval.ended': ({ because }) => plain(`It approves nothing more${because(preApprovalEnds)}.`),
  'key.created': ({ actor }) => plain(`${actor} created a signing key.`),
  'admin.bootstrap': () => plain('The bootstrap token was made.'),
  'key.withdrawn': ({ actor }) => bad(`${actor} withdrew a signing key; what it signed is refused.`),
  'admin.bootstrap_expired': ({ actor }) => plain(`${actor} signed in as an admin, and the bootstrap token ended.`),
  'person.signed_in': ({ actor, payload: { method } }) =>
    plain(`${actor} signed in${method === 'passkey' ? ' with a passkey, without the identity provider' : ''}.`),
  'person.forgotten': ({ actor }) => plain(`The identity provider no longer confirms ${actor}.`),
  'person.changed': ({ actor }) => plain(`The identity provider says something new of ${actor}.`),
  'person.lapsed': ({ actor }) => plain(`The identity provider no longer confirms ${actor}, who is signed out.`),
  'person.signed_out': ({ actor }) => plain(`${actor} signed out.`),
  'login.ended': ({ actor }) => plain(`A login of ${actor} ended.`),
  'person.logins_ended': ({ actor, payload: { subject, reason } }) =>
    plain(`${actor} ended logins of ${subject ?? 'somebody'}: ${reason ?? ''}.`),
  'passkey.registered': ({ actor }) => plain(`${actor} registered a passkey.`),
  'passkey.used': ({ actor }) => plain(`${actor} used a passkey.`),
  'passkey.refused': ({ actor, because }) => bad(`A passkey of ${actor} was refused${because(passkeyRefusals)}.`),
  'passkey.disabled': ({ actor }) =>
    bad(`The counter of a passkey of ${actor} went back: there may be a copy, and it is disabled.`),
  'passkey.removed': ({ actor, payload: { by_admin: byAdmin } }) =>
    byAdmin === true ? plain(`The admin ${actor} removed a passkey.`) : plain(`${actor} removed a passkey.`),
  'person.signed_off': ({ actor }) => plain(`The identity provider signed ${actor} off.`),
  'signal.received': ({ payload: { event, subject } }) =>
    plain(
      `The identity provider signalled ${event ?? 'something'}${subject?.length ? ` about ${subject.map((name) => userText(name)).join(', ')}` : ''}.`,
    ),
  'signal.refused': ({ because, payload: { dropped } }) =>
    dropped === undefined
      ? bad(`A signal was refused${because(signalRefusals)}.`)
      : bad(`${dropped} more signals were refused in a minute.`),
  'signal.carried_out': ({ payload: { event, known } }) =>
    known === false
      ? plain(`Nobody here has the names that ${event ?? 'the signal'} was about.`)
      : good(`What ${event ?? 'the signal'} ends has ended.`),
  'stream.delivered': ({ payload: { stream, event } }) =>
    good(`The receiver of ${stream ?? 'a stream'} was told of it: ${event ?? 'something'}.`),
  'stream.refused': ({ payload: { stream, event, err } }) =>
    bad(
      `The receiver of ${stream ?? 'a stream'} refused ${event ?? 'a signal'}${err === undefined ? '' : `: ${err}`}.`,
    ),
  'stream.dropped': ({ payload: { stream, events, reason } }) =>
    bad(
      `${events ?? 'Some'} signals to ${stream ?? 'a stream'} were dropped${reason === undefined ? '' : `: ${reason.replaceAll('_', ' ')}`}.`,
    ),
};

const said = (because: string | undefined) => (because === undefined ? '' : `, “${because}”`);
const lockedWords = ({ level, subject, reason }: ReadPayload<'lock.set'>) =>
  `${[level === 'everything' ? level : `the ${level ?? 'subject'}`, subject].filter(Boolean).join(' ')}${reason === undefined ? '' : `: “${reason}”`}`;
const plain = (text: string): EventWords => ({ tone: 'plain', text });
const good = (text: string): EventWords => ({ tone: 'good', text });
const bad = (text: string): EventWords => ({ tone: 'bad', text });
const wait = (text: string): EventWords => ({ tone: 'wait', text });
const forWhom = (person: ReadPayload<'session.opened'>['on_behalf_of']) =>
  person === undefined ? '' : ` on behalf of ${typeof person === 'string' ? person : userText(person)}`;
const forTime = (seconds: number | undefined) => (seconds === undefined ? '' : ` for ${duration(seconds)}`);

/** An event in words. A type of another version of the broker is shown by its name, never left out. Pure. */
export function eventWords(event: { type: string; actor: string; payload: JsonObject }, what: string): EventWords {
  const { type, actor, payload } = event;
  const code = reasonCode(payload);
  const because: Told<EventType>['because'] = (table) => (code === null ? '' : `: ${reasonWords(table, code)}`);
  if (!isEventType(type)) return plain(`${type.replaceAll(/[._]/g, ' ')}${because({})}`);
  return tell(type, { actor, what, payload: readPayload(type, payload), because });
}

const tell = <T extends EventType>(type: T, told: Told<T>): EventWords => words[type](told);

/**
 * The payload's reason code, of whatever table. Read from the row as stored: a code that no longer exists is
 * still shown.
 */
function reasonCode(payload: JsonObject): string | null {
  const [first] = Array.isArray(payload.reasons) ? payload.reasons : [];
  const listed = typeof first === 'object' && first !== null && !Array.isArray(first) ? first.code : undefined;
  const code = [payload.refused_because, payload.reason, listed].find((one) => typeof one === 'string' && one !== '');
  return typeof code === 'string' ? code : null;
}
