/**
 * What somebody pressed in Slack: approve, deny (asks why, in a modal), or the modal's answer. Finds out who
 * it is, and hands their verdict to `review`. Whatever it comes to is told to them alone; what became of the
 * request, its card says.
 */
import type { ModalView, WebClient } from '@slack/web-api';
import { z } from 'zod';
import { duration } from '../../broker/core/duration.ts';
import { asWritError, WritError } from '../../broker/core/errors.ts';
import type { PagesDeps } from '../contract.ts';
import { loadForReview, mayApproveIn } from '../eligibility.ts';
import { leastSecondsFor, noteStranger, type Reading, reasonMax, review, TooFast } from '../review.ts';
import { fingerprint, readValue } from './card.ts';
import { type SlackAccess, slackClient } from './client.ts';
import { type WhoSettings, whoIs } from './who.ts';

/** @param payload as Slack sent it, proven to be Slack's. Never throws. */
export type AnswerInteraction = (payload: unknown, requestId: string) => Promise<void>;

export interface InteractionDeps {
  settings: SlackAccess & WhoSettings;
  /** What reviews given here are recorded under. */
  channel: string;
  deps: PagesDeps;
}

/** Slack's limit of a section. */
const sectionMax = 3000;

/** How long Slack is waited for, over all that one answer asks of it. */
const slackWithinMs = 10_000;

const person = z.object({ id: z.string().regex(/^[UW][A-Z0-9]{2,20}$/), team_id: z.string().optional() });
const pressed = z.object({
  type: z.literal('block_actions'),
  team: z.object({ id: z.string() }),
  user: person,
  trigger_id: z.string(),
  channel: z.object({ id: z.string() }),
  container: z.object({ message_ts: z.string() }),
  actions: z.array(z.object({ action_id: z.string(), value: z.string().optional() })).length(1),
});
const sent = z.object({
  type: z.literal('view_submission'),
  team: z.object({ id: z.string() }),
  user: person,
  view: z.discriminatedUnion('callback_id', [
    z.object({
      callback_id: z.literal('writ_deny'),
      private_metadata: z.string(),
      state: z.object({
        values: z.object({ reason: z.object({ reason: z.object({ value: z.string().nullable() }) }) }),
      }),
    }),
    z.object({ callback_id: z.literal('writ_confirm'), private_metadata: z.string() }),
  ]),
});
const interaction = z.discriminatedUnion('type', [pressed, sent]);

export function answerInteraction(given: InteractionDeps): AnswerInteraction {
  const { settings, deps } = given;
  return async (payload, requestId) => {
    const read = interaction.safeParse(payload);
    // Other things of ours that need no work, such as the button that is a link.
    if (!read.success) return;
    const { data } = read;
    const slack = slackClient(settings, AbortSignal.timeout(slackWithinMs));
    try {
      const told =
        data.type === 'block_actions'
          ? await onPress(given, slack, data, requestId)
          : await onSent(given, slack, data, requestId);
      if (told !== null) await whisper(slack, told.channel, data.user.id, told.text);
    } catch (error) {
      // Slack's own failures have messages that may quote what was sent.
      const name = error instanceof Error ? error.name : typeof error;
      deps.log.warn({ kind: name, request_id: requestId }, 'an interaction of Slack could not be answered');
    }
  };
}

/** What the person is told, and where. */
interface Told {
  channel: string;
  text: string;
}

async function onPress(
  given: InteractionDeps,
  slack: WebClient,
  { team, user, channel, container, trigger_id, actions }: z.output<typeof pressed>,
  requestId: string,
): Promise<Told | null> {
  const [action] = actions;
  if (action === undefined || (action.action_id !== 'approve' && action.action_id !== 'deny')) return null;
  const told = (text: string): Told => ({ channel: channel.id, text });
  const value = readValue(action.value);
  if (!isOurs(given, team.id, user)) {
    const verdict = action.action_id;
    await noteUnknown(given, user.team_id ?? team.id, user.id, { verdict, grantId: value?.grantId }, requestId);
    return told(strangerText);
  }
  if (value === null) return told('This button is none of Writ’s.');
  if (action.action_id === 'deny') {
    // At once: what opens it is good for three seconds. Who may deny is found out when they do.
    await slack.views.open({ trigger_id, view: denyModal(JSON.stringify([action.value, channel.id])) });
    return null;
  }
  const how = { shownAt: Number(container.message_ts) };
  try {
    return told(await decide(given, slack, user.id, value, { verdict: 'approve', ...how }, requestId));
  } catch (error) {
    if (!(error instanceof TooFast)) throw error;
    const { summary } = given.deps.describePlan(error.plan);
    const metadata = JSON.stringify([action.value, channel.id, error.confirmation]);
    await slack.views.open({ trigger_id, view: confirmModal(error, summary, metadata) });
    return null;
  }
}

async function onSent(
  given: InteractionDeps,
  slack: WebClient,
  { team, user, view }: z.output<typeof sent>,
  requestId: string,
): Promise<Told | null> {
  const [text, channel, confirmation] = z
    .tuple([z.string(), z.string(), z.string().optional()])
    .parse(JSON.parse(view.private_metadata));
  const value = readValue(text);
  if (!isOurs(given, team.id, user)) {
    const verdict = view.callback_id === 'writ_confirm' ? 'approve' : 'deny';
    await noteUnknown(given, user.team_id ?? team.id, user.id, { verdict, grantId: value?.grantId }, requestId);
    return { channel, text: strangerText };
  }
  if (value === null) return null;
  if (view.callback_id === 'writ_confirm')
    return {
      channel,
      text: await decide(given, slack, user.id, value, { verdict: 'approve', confirmation }, requestId),
    };
  const reason = view.state.values.reason.reason.value ?? '';
  return { channel, text: await decide(given, slack, user.id, value, { verdict: 'deny', reason }, requestId) };
}

const strangerText = 'Writ takes answers from its own workspace alone. Nothing was changed.';

/** Pinned: a shared room has people of other workspaces, with e-mails that those vouch for. */
const isOurs = ({ settings }: InteractionDeps, team: string, user: z.output<typeof person>) =>
  team === settings.SLACK_TEAM_ID && (user.team_id ?? team) === settings.SLACK_TEAM_ID;

/** On record by what Slack calls them: of which person that is, nobody knows. */
async function noteUnknown(
  { channel, deps }: Pick<InteractionDeps, 'channel' | 'deps'>,
  team: string,
  userId: string,
  { verdict, grantId }: { verdict: 'approve' | 'deny'; grantId: string | undefined },
  requestId: string,
): Promise<void> {
  if (grantId === undefined) return;
  const reviewer = {
    issuer: `https://slack.com/team/${/^[A-Z0-9]{2,20}$/.test(team) ? team : 'unknown'}`,
    subject: userId,
    groups: [],
    groupsUnknown: true as const,
    aliases: [],
  };
  await noteStranger(deps, { grantId, verdict, reviewer, channel, requestId });
}

/** @returns what to tell the person @throws TooFast: the card has been there for too short a time */
async function decide(
  { settings, channel, deps }: InteractionDeps,
  slack: WebClient,
  userId: string,
  shown: { grantId: string; fingerprint: string },
  given:
    | { verdict: 'approve'; shownAt?: number; confirmation?: string | undefined }
    | { verdict: 'deny'; reason: string },
  requestId: string,
): Promise<string> {
  const { grantId } = shown;
  const page = `${deps.publicUrl}/approvals/${grantId}`;
  try {
    const reviewer = await whoIs(slack, settings, deps, userId);
    if (reviewer === null) {
      const answered = { verdict: given.verdict, grantId };
      await noteUnknown({ channel, deps }, settings.SLACK_TEAM_ID, userId, answered, requestId);
      return `Writ does not know who you are, so nothing was changed. Whoever runs it can add you (${userId}) to WRIT_SLACK_PEOPLE. You can also decide on the page: ${page}`;
    }
    const grant = await loadForReview(deps.store, grantId);
    if (fingerprint(grant.plan_digest) !== shown.fingerprint)
      throw new WritError('conflict', { detail: 'The permission on the card is not the one that stands.' });
    let reading: Reading | undefined;
    if (given.verdict === 'approve') {
      const about = await deps.aboutGrant({
        id: grant.id,
        agent: grant.agent,
        capability: grant.capability,
        manifestVersion: grant.manifest_version,
        taskType: grant.task_type,
      });
      const { summary } = deps.describePlan(grant.plan);
      if (!mayApproveIn(channel, about, grant.tier, summary))
        throw new WritError('forbidden', { detail: 'This is approved on the page alone.' });
      const { shownAt, confirmation } = given;
      reading = {
        // Slack's clock says when the card came; without it, it came just now.
        tookSeconds: shownAt === undefined ? 0 : Math.max(0, deps.clock.now().getTime() / 1000 - shownAt),
        leastSeconds: leastSecondsFor(summary),
        loginId: `slack:${userId}`,
        ...(confirmation === undefined ? {} : { confirmation }),
      };
    }
    const result = await review(deps, {
      grantId,
      reviewer,
      planDigest: grant.plan_digest,
      verdict: given.verdict,
      ...(given.verdict === 'deny' ? { reason: given.reason } : { reading }),
      channel,
      requestId,
    });
    if (result.status === 'denied') return 'Denied. The agent reads your reason.';
    return result.status === 'approved' ? 'Approved.' : 'Your approval counts. One more person must approve.';
  } catch (error) {
    if (error instanceof TooFast) throw error;
    const known = asWritError(error);
    if (known.code === 'internal') deps.log.error({ err: error, request_id: requestId }, 'a review from Slack failed');
    return `Nothing was changed. ${known.detail ?? 'It did not work; try again.'} ${page}`;
  }
}

const plain = (text: string) => ({ type: 'plain_text' as const, text, emoji: false });

/** It counts when it is sent. What the permission says is text, whoever chose the words in it. */
function confirmModal({ message, plan }: TooFast, summary: string[], metadata: string): ModalView {
  const lets = summary.map((line) => line.slice(0, sectionMax));
  return {
    type: 'modal',
    callback_id: 'writ_confirm',
    private_metadata: metadata,
    title: plain('Not counted yet'),
    submit: plain('Approve exactly this'),
    close: plain('Back'),
    blocks: [
      ...[`${message} It counts only if you confirm it.`, `This lets the agent, for ${duration(plan.ttl_seconds)}:`],
      ...lets,
    ].map((text) => ({ type: 'section' as const, text: plain(text) })),
  };
}

function denyModal(metadata: string): ModalView {
  return {
    type: 'modal',
    callback_id: 'writ_deny',
    private_metadata: metadata,
    title: plain('Deny the request'),
    submit: plain('Deny'),
    close: plain('Back'),
    blocks: [
      {
        type: 'input',
        block_id: 'reason',
        label: plain('Why? The agent and the record show it.'),
        element: {
          type: 'plain_text_input',
          action_id: 'reason',
          multiline: true,
          min_length: 1,
          max_length: reasonMax,
        },
      },
    ],
  };
}

/** To this person alone. Nothing in the text is markup. */
async function whisper(slack: WebClient, channel: string, user: string, text: string): Promise<void> {
  const escaped = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  await slack.chat.postEphemeral({ channel, user, text: escaped, parse: 'none', link_names: false });
}
