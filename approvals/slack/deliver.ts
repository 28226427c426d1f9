/**
 * Notices to Slack: a card in each room of the route, and rewritten there when the request is settled. Which
 * message is which notice stands in the message's metadata: whoever may have posted it before looks first.
 */
import type { WebClient } from '@slack/web-api';
import type { Message, Notice } from '../contract.ts';
import { placesToTell, type Routes } from '../routes.ts';
import { type Card, cardOf, digestCard, fingerprint, incidentCard } from './card.ts';
import { deliveryError, isRefusal, type SlackAccess, slackClient } from './client.ts';

export interface DeliverySettings extends SlackAccess {
  WRIT_SLACK_CHANNEL: string;
  WRIT_SLACK_ROUTES: Routes;
}

/** Where a message is. */
interface Place {
  channel: string;
  ts: string;
}

const eventType = 'writ_notice';
/** Messages since the request that are looked through for one of ours. */
const pagesMax = 10;

/** @returns the places, as text @throws DeliveryError */
export async function deliverToSlack(
  settings: DeliverySettings,
  notice: Message,
  signal: AbortSignal,
): Promise<string> {
  signal.throwIfAborted();
  const slack = slackClient(settings, signal);
  try {
    const places =
      notice.kind === 'settled' ? await rewrite(slack, settings, notice) : await tell(slack, settings, notice);
    return places.map(({ channel, ts }) => `${channel}:${ts}`).join(' ');
  } catch (error) {
    signal.throwIfAborted();
    throw deliveryError(error);
  }
}

const roomsOf = ({ WRIT_SLACK_ROUTES, WRIT_SLACK_CHANNEL }: DeliverySettings, notice: Message) =>
  placesToTell(WRIT_SLACK_ROUTES, () => WRIT_SLACK_CHANNEL, notice);

async function tell(slack: WebClient, settings: DeliverySettings, notice: Message): Promise<Place[]> {
  const places: Place[] = [];
  for (const room of roomsOf(settings, notice)) {
    const found = notice.attempt > 1 ? await find(slack, room, notice.id, sinceOf(notice)) : null;
    places.push(found === null ? await post(slack, room, notice) : await refresh(slack, found, notice));
  }
  return places;
}

function sinceOf(message: Message): Date {
  if (message.kind === 'incident') return message.at;
  return message.kind === 'digest' ? message.until : message.requestedAt;
}

async function post(slack: WebClient, room: string, notice: Message): Promise<Place> {
  const posted = await slack.chat.postMessage({ channel: room, ...messageOf(notice) });
  return { channel: posted.channel ?? room, ts: posted.ts ?? '' };
}

/** What was on the card may have been narrowed since. */
async function refresh(slack: WebClient, found: Place & { shows: unknown }, notice: Message): Promise<Place> {
  const place = { channel: found.channel, ts: found.ts };
  if (found.shows !== showsOf(notice)) await slack.chat.update({ ...place, ...messageOf(notice) });
  return place;
}

async function rewrite(slack: WebClient, settings: DeliverySettings, notice: Notice): Promise<Place[]> {
  const known: Place[] = [];
  for (const { id, kind, reference } of notice.earlier) {
    if (reference !== null) known.push(...placesOf(reference));
    else
      for (const room of roomsOf(settings, { ...notice, kind })) {
        const found = await find(slack, room, id, notice.requestedAt);
        if (found !== null) known.push(found);
      }
  }
  const { text, blocks } = cardOf(notice);
  for (const { channel, ts } of known) {
    try {
      await slack.chat.update({ channel, ts, text, blocks, parse: 'none', link_names: false });
    } catch (error) {
      // Somebody deleted it: there is nothing left that could mislead.
      if (!isRefusal(error, 'message_not_found')) throw error;
    }
  }
  return known;
}

/** Which permission is to be read in it; what is only told never changes. */
const showsOf = (message: Message) =>
  message.kind === 'incident' || message.kind === 'digest' ? '' : fingerprint(message.planDigest);

function written(message: Message): Card {
  if (message.kind === 'incident') return incidentCard(message);
  return message.kind === 'digest' ? digestCard(message) : cardOf(message);
}

function messageOf(notice: Message) {
  return {
    ...written(notice),
    parse: 'none' as const,
    link_names: false,
    unfurl_links: false,
    unfurl_media: false,
    metadata: { event_type: eventType, event_payload: { id: notice.id, shows: showsOf(notice) } },
  };
}

const placesOf = (reference: string): Place[] =>
  reference
    .split(' ')
    .map((place) => place.split(':'))
    .flatMap(([channel, ts]) => (channel === undefined || ts === undefined ? [] : [{ channel, ts }]));

/** The message of a notice, among ours since the request. */
async function find(
  slack: WebClient,
  room: string,
  noticeId: string,
  since: Date,
): Promise<(Place & { shows: unknown }) | null> {
  const channel = /^[UW]/.test(room) ? ((await slack.conversations.open({ users: room })).channel?.id ?? room) : room;
  const { bot_id: own } = await slack.auth.test();
  // Slack's clock may be a little behind ours.
  const oldest = String(since.getTime() / 1000 - 60);
  let cursor: string | undefined;
  for (let page = 0; page < pagesMax; page += 1) {
    const answer = await slack.conversations.history({
      channel,
      oldest,
      include_all_metadata: true,
      limit: 200,
      ...(cursor === undefined ? {} : { cursor }),
    });
    for (const { ts, bot_id, metadata } of answer.messages ?? []) {
      const payload = metadata?.event_payload as { id?: unknown; shows?: unknown } | undefined;
      // Another app can write the same metadata.
      if (bot_id !== own || metadata?.event_type !== eventType || payload?.id !== noticeId || ts === undefined)
        continue;
      return { channel, ts, shows: payload.shows };
    }
    cursor = answer.response_metadata?.next_cursor;
    if (cursor === undefined || cursor === '') break;
  }
  return null;
}
