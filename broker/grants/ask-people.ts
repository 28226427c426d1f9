/**
 * Puts a question to people within the statement that makes it necessary: the question with its notices, and,
 * where a rule froze or narrowed a session, the record of that.
 */
import { insertNotices } from '../../approvals/notices.ts';
import { appendEvent } from '../audit/append.ts';
import { type EventPayload, event, eventAmong, eventPayload } from '../audit/events.ts';
import { newId } from '../core/ids.ts';
import { insertQuestion, type Question } from './question.ts';

/** What is asked, and what a rule did to the session. */
export interface AsksPeople {
  question: Question;
  /** Channels that tell people. */
  channels: readonly string[];
  /** Null where the question is about a call. */
  restraint:
    | null
    | { type: 'session.suspended'; payload: EventPayload<'session.suspended'> }
    | { type: 'session.narrowed'; payload: EventPayload<'session.narrowed'> };
  /** What the tree loses by it. */
  took: readonly string[] | null;
}

/**
 * CTEs that write it.
 * @param from relation of one row with `root_id`, `at`, `request_id`, `agent`, `question`, `asked`,
 *   `restrained` and `restraint` (`askRow`)
 * @param notices SQL of the notices' ids and channels
 */
export const askPeople = (from: string, notices: { ids: string; channels: string }): string => `questions AS (
${insertQuestion(from)} RETURNING id, session_id, agent
    ), question_notices AS (${insertNotices('questions', notices.ids, notices.channels, `(SELECT at FROM ${from})`)}
    ), asked_event AS (
      ${appendEvent({ chain: 'q.session_id', at: `${from}.at`, type: event('grant.pending'), actor: `${from}.agent`, grant: 'q.id', request: `${from}.request_id`, payload: `${from}.asked` }, `questions q, ${from}`)}
    ), restraint_event AS (
      ${appendEvent({ chain: 'root_id', at: 'at', type: eventAmong('restrained', 'session.suspended', 'session.narrowed'), actor: "'system'", request: 'request_id', payload: 'restraint' }, `${from} WHERE restrained IS NOT NULL`)}
    )`;

/** The columns that `askPeople` takes. */
export function askRow({ question, channels, restraint }: AsksPeople) {
  return {
    question,
    notices: channels.map(() => newId('ntc', question.at)),
    channels: [...channels],
    restrained: restraint?.type ?? null,
    restraint: restraint?.payload ?? null,
    asked: eventPayload('grant.pending', {
      capability: question.capability,
      params: {},
      plan: question.plan,
      plan_digest: question.plan_digest,
      effect: 'approve',
      tier: 3,
      reasons: question.decision.reasons as [],
      policy_ids: [],
      manifest_version: question.manifest_version,
    }),
  };
}
