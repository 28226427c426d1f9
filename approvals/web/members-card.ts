/** Several permissions that are asked for at once, each with all that a yes to it is to. Pure. */
import { h, type JSX } from 'preact';
import { Foreign } from '../../broker/console/shell.ts';
import { duration, prettyJson, visible } from '../../broker/console/text.ts';
import type { BatchMember } from '../../broker/core/questions.ts';
import type { ApprovalView } from './load.ts';
import { batchOf } from './questions.ts';
import { statusTag } from './words.ts';

/** @param members what has become of each @returns null where it is about one permission */
export function membersCard(
  grant: ApprovalView,
  members: readonly { id: string; status: string }[],
): JSX.Element | null {
  const batch = batchOf(grant);
  if (batch === null) return null;
  const statusOf = ({ grant: id }: BatchMember) => members.find((one) => one.id === id)?.status ?? 'ended';
  return h('section', { class: 'card' }, [
    h('h2', null, 'What it will be able to do'),
    h('ol', { class: 'members' }, [
      batch.members.map((member, index) =>
        h('li', null, [
          h('h3', null, [
            `${index + 1}. `,
            h(Foreign, { text: member.capability }),
            ', for ',
            duration(member.plan.ttl_seconds),
          ]),
          batch.withhold.includes(member.grant)
            ? h('p', { class: 'fault' }, 'Was taken out by an approver, and is denied.')
            : statusOf(member) === 'pending'
              ? null
              : h('p', { class: 'small' }, statusTag(statusOf(member), null)),
          h(
            'ul',
            { class: 'powers' },
            member.summary.map((line) => h('li', null, h(Foreign, { text: line, max: 600 }))),
          ),
          h('p', { class: 'revocability small' }, [
            h('b', null, 'Ending it early. '),
            h(Foreign, { text: member.revocability, max: 600 }),
          ]),
          h('details', null, [
            h('summary', null, `Exactly as ${visible(member.plan.provider)} will be asked for it`),
            h('pre', { tabIndex: 0 }, h('bdi', null, prettyJson(member.plan))),
          ]),
        ]),
      ),
    ]),
    h('p', { class: 'small soft' }, [
      'One decision is on all of them; each is collected by itself. Digest of the list: ',
      h('code', null, grant.plan_digest),
    ]),
  ]);
}
