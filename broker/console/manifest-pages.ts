/** Agents, and what each may ever do: versions, what waits, the candidate. Pure. */
import { type ComponentChildren, h, type JSX } from 'preact';
import type { Change } from '../manifests/diff-change.ts';
import type { CandidateView, Difference, ListedAgent, ProposalView, VersionView } from './load-manifests.ts';
import { Foreign } from './shell.ts';
import { ago, bare, dated, visible } from './text.ts';

/** Longest reason of a refusal, in characters. */
export const reasonMax = 500;

export function agentsPage(agents: readonly ListedAgent[], now: Date): JSX.Element {
  const rows = agents.map(({ agent, version, waiting, owner_gone: gone }) =>
    h('tr', null, [
      h('td', null, [h('b', null, h(Foreign, { text: agent })), gone === null ? null : ownerGone(gone, now)]),
      h('td', null, [
        version === 0 ? 'nothing in force' : `version ${version}`,
        ' ',
        waiting === 0 ? null : h('span', { class: 'tag wait' }, `${waiting} waiting`),
      ]),
      h('td', { class: 'open' }, h('a', { class: 'button', href: `/agents/${agent}` }, 'Manifest')),
    ]),
  );
  return h('div', null, [
    h('h1', null, 'Agents'),
    h(
      'p',
      { class: 'lede' },
      agents.length === 0 ? 'None that you answer for.' : 'What each may ever do, and who made it so.',
    ),
    rows.length === 0 ? null : h('section', { class: 'card' }, table(['Agent', 'Manifest', ''], rows)),
  ]);
}

function ownerGone({ owner, since, ends_at }: NonNullable<ListedAgent['owner_gone']>, now: Date): JSX.Element {
  const takeOver = 'a manifest that names another owner, or a team, is in force';
  return h('p', { class: 'fault' }, [
    'Owner gone since ',
    dated(since),
    ': ',
    name(owner),
    now < ends_at
      ? `. Sessions end at ${dated(ends_at)}, unless ${takeOver} by then.`
      : `. Its sessions ended at ${dated(ends_at)}, and it opens none until ${takeOver}.`,
  ]);
}

export interface ManifestPage {
  agent: ListedAgent;
  versions: VersionView[];
  /** Where the next page of versions begins; null = that is all. */
  older: number | null;
  proposals: ProposalView[];
  candidate: CandidateView | null;
  /** Goes into the forms; null = this person may neither agree nor refuse. */
  csrf: string | null;
  now: Date;
}

export function manifestPage(page: ManifestPage): JSX.Element {
  const { agent, versions, older, proposals, candidate, csrf, now } = page;
  return h('div', null, [
    h('p', { class: 'kicker' }, agent.version === 0 ? 'Manifest, none in force' : `Manifest, version ${agent.version}`),
    h('h1', null, h(Foreign, { text: agent.agent })),
    h(
      'p',
      { class: 'lede' },
      'What this agent may ever do: each version, who made it so and why, and what changed by it.',
    ),
    agent.owner_gone === null ? null : ownerGone(agent.owner_gone, now),
    ...proposals.map((proposal) => proposalCard(agent.agent, proposal, csrf, now)),
    candidate === null ? null : candidateCard(candidate, now),
    ...versions.map((version) => versionCard(version, now)),
    older === null
      ? null
      : h('p', null, h('a', { class: 'button', href: `/agents/${agent.agent}?before=${older}` }, 'Older versions')),
  ]);
}

function versionCard(version: VersionView, now: Date): JSX.Element {
  const { author, reason, published_at, in_force, agreed_by, proven } = version;
  return h('section', { class: 'card', id: `v${version.version}` }, [
    h('h2', null, [
      `Version ${version.version} `,
      in_force && proven ? h('span', { class: 'tag good' }, 'in force') : null,
    ]),
    h('p', { class: 'small soft' }, [
      ...byWhom(author),
      ...(agreed_by === null ? [] : ['; agreed to by ', name(agreed_by)]),
      `, ${dated(published_at)}, ${ago(published_at, now)}`,
    ]),
    h('p', null, h(Foreign, { text: reason, max: reasonMax })),
    proven
      ? null
      : h(
          'p',
          { class: 'fault' },
          'This row was not written by this broker, or was changed. Nothing is decided on it.',
        ),
    version.changes === null ? null : changeList(version.changes),
    source(version.source),
  ]);
}

function proposalCard(agent: string, proposal: ProposalView, csrf: string | null, now: Date): JSX.Element {
  const { id, author, reason, proposed_at, base_version, sha256, bar } = proposal;
  const form = (verdict: 'agree' | 'refuse', fields: ComponentChildren) =>
    h('form', { method: 'post', action: `/agents/${agent}/proposals/${id}` }, [
      h('input', { type: 'hidden', name: 'csrf', value: csrf }),
      h('input', { type: 'hidden', name: 'sha256', value: sha256 }),
      h('input', { type: 'hidden', name: 'verdict', value: verdict }),
      fields,
    ]);
  return h('section', { class: 'card verdict', id }, [
    h('h2', null, ['Proposed ', h('span', { class: 'tag wait' }, 'waits for another admin')]),
    h('p', { class: 'small soft' }, [
      ...byWhom(author),
      `, ${dated(proposed_at)}, ${ago(proposed_at, now)}, in place of `,
      base_version === 0 ? 'nothing' : `version ${base_version}`,
    ]),
    h('p', null, h(Foreign, { text: reason, max: reasonMax })),
    proposal.changes === null ? null : changeList(proposal.changes),
    source(proposal.source),
    h('p', { class: 'small soft' }, ['SHA-256: ', h('code', null, visible(sha256))]),
    bar !== null
      ? h('p', { class: 'fault' }, h(Foreign, { text: bar, max: 900 }))
      : csrf === null
        ? null
        : form('agree', h('button', { class: 'approve', type: 'submit' }, 'Agree: put exactly this in force')),
    csrf === null
      ? null
      : form('refuse', [
          h('label', { for: `reason-${id}` }, 'Why not (on record)'),
          h('textarea', { id: `reason-${id}`, name: 'reason', rows: 2, maxLength: reasonMax, required: true }),
          h('button', { class: 'deny', type: 'submit' }, 'Refuse'),
        ]),
  ]);
}

function candidateCard(candidate: CandidateView, now: Date): JSX.Element {
  const { number, author, reason, published_at, withdrawn_at, count, newest } = candidate;
  return h('section', { class: 'card' }, [
    h('h2', null, [
      `Candidate ${number} `,
      withdrawn_at === null
        ? h('span', { class: 'tag' }, 'decides beside, without effect')
        : h('span', { class: 'tag' }, 'withdrawn'),
    ]),
    h('p', { class: 'small soft' }, [
      ...byWhom(author),
      `, ${dated(published_at)}`,
      withdrawn_at === null ? `, ${ago(published_at, now)}` : `; withdrawn ${dated(withdrawn_at)}`,
    ]),
    h('p', null, h(Foreign, { text: reason, max: reasonMax })),
    count === 0
      ? h('p', { class: 'soft' }, 'It has decided nothing otherwise.')
      : h('p', null, countedDifferences(count, newest.length)),
    count === 0
      ? null
      : table(
          ['Call or grant', 'Decision', 'When'],
          newest.map((one) => differenceRow(one, now)),
        ),
  ]);
}

const countedDifferences = (count: number, shown: number) =>
  `${count} ${count === 1 ? 'decision' : 'decisions'} would have been another${count > shown ? `; the newest ${shown}` : ''}:`;

function differenceRow({ name: what, was, now: would, at, because, session_id }: Difference, now: Date): JSX.Element {
  return h('tr', null, [
    h('td', null, [
      h('b', null, h(Foreign, { text: what })),
      ' ',
      h('a', { class: 'small', href: `/sessions/${session_id}` }, 'session'),
      ...because.flatMap((line) => [
        h('br', null),
        h('span', { class: 'small soft' }, h(Foreign, { text: line, max: 300 })),
      ]),
    ]),
    h('td', null, ['decided ', h('code', null, visible(was)), ', it would ', h('code', null, visible(would))]),
    h('td', { class: 'small soft' }, ago(at, now)),
  ]);
}

/** Verdict → tone and word. What nobody can tell counts as wider. */
const verdicts: { readonly [verdict in Change['verdict']]: readonly [tone: string, word: string] } = {
  widens: ['wait', 'widens'],
  unknown: ['wait', 'may widen'],
  narrows: ['good', 'narrows'],
  neither: ['', 'as wide'],
};

function changeList(changes: readonly Change[]): JSX.Element {
  if (changes.length === 0) return h('p', { class: 'soft' }, 'Says the same as the version before.');
  return h(
    'ul',
    { class: 'changes' },
    changes.map(({ verdict, text, path }) => {
      const [tone, word] = verdicts[verdict];
      return h('li', null, [
        h('span', { class: `tag ${tone}` }, word),
        h('span', null, [
          h(Foreign, { text, max: 900 }),
          ' ',
          h('code', { class: 'small soft' }, h(Foreign, { text: path })),
        ]),
      ]);
    }),
  );
}

const source = (text: string): JSX.Element =>
  h('details', null, [
    h('summary', null, 'The whole of it'),
    h('pre', { tabIndex: 0 }, h('bdi', null, visible(text, '\n'))),
  ]);

const name = (person: string): JSX.Element => h(Foreign, { text: bare(person) });
const byWhom = (author: string): ComponentChildren[] => ['By ', name(author)];

function table(titles: readonly string[], rows: JSX.Element[]): JSX.Element {
  const head = titles.map((title) => h('th', { scope: 'col' }, title));
  return h('table', { class: 'stack' }, [h('thead', null, h('tr', null, head)), h('tbody', null, rows)]);
}
