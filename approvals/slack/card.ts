/**
 * A notice as a card of Block Kit, within its limits. All that an agent, a provider or a person wrote is
 * `plain_text`, which Slack shows as it is. Buttons carry which request and which permission was on the card,
 * and nothing that anybody wrote.
 */
import { createHash } from 'node:crypto';
import type { KnownBlock } from '@slack/web-api';
import { duration, moment } from '../../broker/console/text.ts';
import { isQuestion } from '../../broker/core/questions.ts';
import type { AgentText, Digest, Incident, Notice } from '../contract.ts';
import { digestWords } from '../digest-words.ts';
import { stillWaits } from '../routes.ts';

export interface Card {
  /** What stands for it in a notification: Slack reads this as markup. */
  text: string;
  blocks: KnownBlock[];
}

/** Slack's limits, in UTF-16 units. */
const sectionMax = 3000;
const headerMax = 150;
/** More would be a wall of text; the page has all. */
const inputsMax = 8;

export function cardOf(notice: Notice): Card {
  const { agent, capability, outcome } = notice;
  const asks = `${agent} asks for ${capability}`;
  const still = stillWaits(notice.kind);
  const title = outcome === null ? `${still}${asks}` : outcome.words;
  return {
    text: escaped(outcome === null ? title : `${asks}: ${outcome.words}`),
    blocks: [
      { type: 'header', text: plain(short(`${still}${asks}`, headerMax)) },
      ...(outcome === null
        ? []
        : [
            section(outcome.words),
            ...(outcome.reason === null ? [] : [note('Their reason:'), section(outcome.reason)]),
          ]),
      ...sections(notice.summary),
      section(terms(notice)),
      ...(notice.justification === null ? [] : agentWords('Why', notice.justification)),
      ...notice.inputs.slice(0, inputsMax).flatMap(({ name, value }) => agentWords(name, value)),
      ...(notice.inputs.length > inputsMax ? [note(`and ${notice.inputs.length - inputsMax} more: see the page`)] : []),
      ...(outcome === null ? [buttons(notice)] : []),
    ],
  };
}

/** What happened, and what was done about it: nothing to decide. */
export function incidentCard({ agent, what, consequence, url, at, sessionId }: Incident): Card {
  const label = sessionId === null ? 'Open the page' : 'Open the session';
  return {
    text: escaped(`${agent}: ${what}`),
    blocks: [
      { type: 'header', text: plain(short(agent, headerMax)) },
      section(what),
      section(`${consequence} ${moment(at)}`),
      { type: 'actions', elements: [{ type: 'button', text: plain(label), action_id: 'open', url }] },
    ],
  };
}

/** What was decided in a day: nothing to decide. */
export function digestCard(digest: Digest): Card {
  const { title, text } = digestWords(digest);
  return {
    text: escaped(title),
    blocks: [
      { type: 'header', text: plain(short(title, headerMax)) },
      ...sections(text.filter((line) => line !== '')),
      { type: 'actions', elements: [{ type: 'button', text: plain('Read each'), action_id: 'open', url: digest.url }] },
    ],
  };
}

function terms({
  capability,
  ttlSeconds,
  revocability,
  taskType,
  outcome,
  decideBy,
  approvers,
  approvedHere,
}: Notice): string {
  return [
    `${isQuestion(capability) ? 'Within' : 'For'} ${duration(ttlSeconds)}, in a task ${taskType}. ${revocability}`,
    ...(outcome === null
      ? [
          `${approvers.join(' or ')} decides, until ${moment(decideBy)}; silence is a denial.`,
          ...(approvedHere ? [] : ['It is approved on the page.']),
        ]
      : []),
  ].join('\n');
}

function buttons(notice: Notice): KnownBlock {
  const value = buttonValue(notice.grantId, notice.planDigest);
  return {
    type: 'actions',
    elements: [
      ...(notice.approvedHere
        ? [
            {
              type: 'button' as const,
              text: plain('Approve exactly this'),
              style: 'primary' as const,
              action_id: 'approve',
              value,
            },
          ]
        : []),
      { type: 'button', text: plain('Open the page'), action_id: 'open', url: notice.url },
      { type: 'button', text: plain('Deny…'), style: 'danger', action_id: 'deny', value },
    ],
  };
}

/** Which request, and which permission was to be read beside the button. */
export const buttonValue = (grantId: string, planDigest: string): string => `${grantId}.${fingerprint(planDigest)}`;

export const fingerprint = (planDigest: string): string =>
  createHash('sha256').update(planDigest).digest('base64url').slice(0, 22);

/** @returns null when the text is none of ours */
export function readValue(value: unknown): { grantId: string; fingerprint: string } | null {
  const [, grantId, print] = /^(\w{1,64})\.([\w-]{22})$/.exec(typeof value === 'string' ? value : '') ?? [];
  return grantId === undefined || print === undefined ? null : { grantId, fingerprint: print };
}

function agentWords(what: string, { text, left }: AgentText): KnownBlock[] {
  return [
    note(`${what}, in the agent’s own words, unchecked:`),
    section(text === '' ? '(nothing)' : text),
    ...(left > 0 ? [note(`${left} more characters: see the page`)] : []),
  ];
}

const plain = (text: string) => ({ type: 'plain_text' as const, text, emoji: false });
const section = (text: string): KnownBlock => ({ type: 'section', text: plain(short(text, sectionMax)) });
const note = (text: string): KnownBlock => ({ type: 'context', elements: [plain(short(text, 300))] });

/** Lines in as few sections as they fit in. */
function sections(lines: readonly string[]): KnownBlock[] {
  const parts: string[] = [];
  for (const line of lines) {
    const last = parts.at(-1);
    if (last !== undefined && last.length + line.length + 1 <= sectionMax) parts[parts.length - 1] = `${last}\n${line}`;
    else parts.push(line);
  }
  return parts.filter((part) => part !== '').map(section);
}

/** Cut between characters, never within one. */
function short(text: string, max: number): string {
  if (text.length <= max) return text;
  return `${text.slice(0, max - 1).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

/** https://docs.slack.dev/messaging/formatting-message-text/#escaping */
const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
