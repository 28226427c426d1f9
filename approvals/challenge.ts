/**
 * Approval challenges: where they are on, whoever approves first picks the sentence that the request's plan
 * says among others. Against a hurried reader, not against a program. No row remembers one: what it is bound
 * to comes back in a token that only this broker can have made, and `once` uses it up, by whatever answer.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import { event } from '../broker/audit/events.ts';
import { isBatch, isQuestion } from '../broker/core/questions.ts';
import type { Clock, Plan } from '../broker/core/vocabulary.ts';
import type { Identity } from '../broker/people/identity.ts';
import type { Statement, Store } from '../broker/store/open.ts';
import { challengeSentences, sentencesOf } from './challenge-sentences.ts';
import type { AboutGrant, DescribePlan } from './contract.ts';
import type { Bar, GrantUnderReview } from './eligibility.ts';

/** How long one may be answered. */
const goodForSeconds = 900;

/** After a wrong answer the same person approves this request no sooner. */
export const wrongAnswerSeconds = 60;

export interface ChallengeDeps {
  store: Store;
  clock: Clock;
  /** 32 bytes, the same on every process that serves. */
  challengeKey: Uint8Array;
  once(key: string, until: Date): Promise<boolean>;
  describePlan: DescribePlan;
}

/** What was on the page: the challenge, and which of its sentences was picked. */
export interface ChallengeAnswer {
  /** `Login.id`. */
  loginId: string;
  token: string;
  picked: string;
}

/** As the page shows it. */
export interface ShownChallenge {
  token: string;
  options: { value: string; sentence: string }[];
}

/** A request, its plan and who looks at it. */
type Reader = { grant: GrantUnderReview; reader: Identity; loginId: string };

/** Whether approvals of this request take one. Questions about calls and sessions never do. */
export async function isChallenged(
  { aboutGrant }: { aboutGrant?: AboutGrant },
  { id, agent, capability, manifest_version, task_type }: GrantUnderReview,
): Promise<boolean> {
  if ((isQuestion(capability) && !isBatch(capability)) || aboutGrant === undefined) return false;
  const about = await aboutGrant({ id, agent, capability, manifestVersion: manifest_version, taskType: task_type });
  return about.challenged === true;
}

// Of the same agent and capability: whoever decides on one may see the others.
const othersStatement: Statement = {
  name: 'challenge_plans',
  text: `
    SELECT g.plan FROM grants g
    WHERE g.agent = $1::text AND g.capability = $2::text AND g.id <> $3::text AND g.plan_digest <> $4::text
    ORDER BY g.requested_at DESC, g.id DESC LIMIT 30`,
};

/** A new one for each page that is shown. */
export async function makeChallenge(deps: ChallengeDeps, asked: Reader): Promise<ShownChallenge> {
  const { store, clock, challengeKey } = deps;
  const { grant } = asked;
  const plans = await store.run<{ plan: Plan }>(othersStatement, [
    grant.agent,
    grant.capability,
    grant.id,
    grant.plan_digest,
  ]);
  const others = plans.flatMap(({ plan }) => {
    try {
      return [linesOf(deps, plan)];
    } catch {
      // Of a provider that is not switched on any more.
      return [];
    }
  });
  const nonce = randomBytes(24).toString('base64url');
  const seed = createHmac('sha256', challengeKey).update(`seed\n${nonce}`).digest();
  const said = { lines: linesOf(deps, grant.plan), ttlSeconds: grant.plan.ttl_seconds };
  const { shown } = challengeSentences(said, others, seed);
  const token = await new SignJWT({ nonce, ...boundTo(asked) })
    .setProtectedHeader({ alg: 'HS256' })
    .setAudience('approval-challenge')
    .setExpirationTime(Math.floor(clock.now().getTime() / 1000) + goodForSeconds)
    .sign(challengeKey);
  const options = shown.map((sentence) => ({
    value: markOf(challengeKey, nonce, sentence).toString('base64url'),
    sentence,
  }));
  return { token, options };
}

/**
 * Uses a challenge up.
 * @returns null where the plan's own sentence was picked; else what is said of it
 */
export async function answerBar(
  deps: Partial<ChallengeDeps> & Pick<ChallengeDeps, 'clock'>,
  asked: Omit<Reader, 'loginId'>,
  answer: ChallengeAnswer | undefined,
): Promise<Bar | null> {
  const { challengeKey, once, describePlan, clock } = deps;
  if (answer === undefined || challengeKey === undefined || once === undefined || describePlan === undefined)
    return noAnswer('Pick the sentence that this request says, on its page: only then it can be approved.');
  const read = await jwtVerify<{ nonce: string }>(answer.token, challengeKey, {
    algorithms: ['HS256'],
    audience: 'approval-challenge',
    currentDate: clock.now(),
    requiredClaims: ['exp', 'nonce'],
  }).catch(() => null);
  if (read === null) return noAnswer('The page was open too long. Read it again, and pick the sentence once more.');
  const { nonce, ...claims } = read.payload;
  const bound = boundTo({ ...asked, loginId: answer.loginId });
  if (Object.entries(bound).some(([name, value]) => claims[name] !== value))
    return noAnswer('The sentence was picked on another page than this one. Read this one, and pick once more.');
  const until = new Date(clock.now().getTime() + 2 * goodForSeconds * 1000);
  if (!(await once(`approval-challenge:${nonce}`, until)))
    return noAnswer('This question has been answered before. Read the page again, and pick once more.');
  const picked = Buffer.from(answer.picked, 'base64url');
  const { plan } = asked.grant;
  const right = sentencesOf(linesOf({ describePlan }, plan), plan.ttl_seconds).some((sentence) => {
    const value = markOf(challengeKey, nonce, sentence);
    return picked.length === value.length && timingSafeEqual(picked, value);
  });
  return right ? null : wrongAnswer;
}

const noAnswer = (text: string): Bar => ({ code: 'no_answer', text });

const wrongAnswer: Bar = {
  code: 'wrong_answer',
  text: `That sentence is not this request’s. Read it again; you may approve it after ${wrongAnswerSeconds} seconds.`,
};

/** The state is left out: of it the digits alone differ. */
const linesOf = ({ describePlan }: Pick<ChallengeDeps, 'describePlan'>, { state: _, ...plan }: Plan): string[] =>
  describePlan(plan).summary;

const boundTo = ({ grant, reader, loginId }: Reader) => ({
  grant: grant.id,
  digest: grant.plan_digest,
  issuer: reader.issuer,
  subject: reader.subject,
  login: loginId,
});

/** Tells nothing of the sentence, and is another on each page. */
const markOf = (key: Uint8Array, nonce: string, sentence: string): Buffer =>
  createHmac('sha256', key).update(`sentence\n${nonce}\n${sentence}`).digest().subarray(0, 16);

const lastWrongStatement: Statement = {
  name: 'challenge_last_wrong',
  text: `
    SELECT max(e.at) AS at FROM audit_event e
    WHERE e.chain = $1::text AND e.grant_id = $2::text AND e.type = ${event('review.refused')}
      AND e.payload ->> 'refused_because' = 'wrong_answer'
      AND e.payload #>> '{reviewer,issuer}' = $3::text AND e.payload #>> '{reviewer,subject}' = $4::text`,
};

/** Until when a wrong answer of this person keeps them from approving it; null = it does not. */
export async function waitsUntil(
  { store, clock }: Pick<ChallengeDeps, 'store' | 'clock'>,
  grant: GrantUnderReview,
  { issuer, subject }: Identity,
): Promise<Date | null> {
  const [last] = await store.run<{ at: Date | null }>(lastWrongStatement, [
    grant.session_id,
    grant.id,
    issuer,
    subject,
  ]);
  if (last?.at == null) return null;
  const until = new Date(last.at.getTime() + wrongAnswerSeconds * 1000);
  return until > clock.now() ? until : null;
}
