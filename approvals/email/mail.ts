/**
 * A notice as a mail of plain text. A mail program turns whatever looks like an address into a link, so what
 * others wrote is written such that it does not: `https[:]//`, `www[.]`, `mailto[:]`. The agent's own words
 * are quoted.
 */
import { duration, moment } from '../../broker/console/text.ts';
import { isQuestion } from '../../broker/core/questions.ts';
import type { AgentText, Digest, Incident, Notice } from '../contract.ts';
import { digestWords } from '../digest-words.ts';
import { stillWaits } from '../routes.ts';

export interface Mail {
  subject: string;
  text: string;
}

export function mailOf(notice: Notice): Mail {
  const { agent, capability, outcome } = notice;
  const asks = inert(`${agent} asks for ${capability}`);
  const still = stillWaits(notice.kind);
  return {
    subject: oneLine(outcome === null ? `${still}${asks}` : `Re: ${asks}`),
    text: [
      ...(outcome === null
        ? []
        : [outcome.words, ...(outcome.reason === null ? [] : [`Their reason: ${outcome.reason}`]), '']
      ).map(inert),
      `${still}${asks}, in a task ${inert(notice.taskType)}:`,
      ...notice.summary.map((line) => `  ${inert(line)}`),
      '',
      inert(`${isQuestion(capability) ? 'Within' : 'For'} ${duration(notice.ttlSeconds)}. ${notice.revocability}`),
      ...(notice.justification === null ? [] : quoted('Why', notice.justification)),
      ...notice.inputs.flatMap(({ name, value }) => quoted(inert(name), value)),
      '',
      ...(outcome === null
        ? [inert(`${notice.approvers.join(' or ')} decides, until ${moment(notice.decideBy)}; silence is a denial.`)]
        : []),
      notice.url,
      '',
    ].join('\n'),
  };
}

/** What happened, and what was done about it: nothing to decide. */
export function incidentMail({ agent, what, consequence, url, at }: Incident): Mail {
  return {
    subject: oneLine(inert(`${agent}: an incident`)),
    text: [inert(`${agent}: ${what}`), inert(consequence), moment(at), '', url, ''].join('\n'),
  };
}

/** What was decided in a day: nothing to decide. */
export function digestMail(digest: Digest): Mail {
  const { title, text } = digestWords(digest);
  return { subject: oneLine(inert(title)), text: [...text.map(inert), '', digest.url, ''].join('\n') };
}

const inert = (text: string) =>
  text
    .replaceAll('://', '[:]//')
    .replace(/\b(www)\./gi, '$1[.]')
    .replace(/\b(mailto|tel):/gi, '$1[:]');

function quoted(what: string, { text, left }: AgentText): string[] {
  return [
    '',
    `${what}, in the agent’s own words, unchecked:`,
    ...inert(text)
      .split('\n')
      .map((line) => `> ${line}`),
    ...(left > 0 ? [`(${left} more characters: see the page)`] : []),
  ];
}

/** A header is one line, whatever it is made of. */
const oneLine = (text: string) => text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ').slice(0, 200);
