/** Home and session page. Pure: rows in, tree out. */
import { type ComponentChildren, h, type JSX } from 'preact';
import { nameOfAsked } from '../core/questions.ts';
import { reasonMax } from './admin-forms.ts';
import { type GrantSummary, type LeaseView, mostLeases, type SessionView } from './load.ts';
import { forWhom, forWhomFact, startedByFact } from './people.ts';
import { Foreign } from './shell.ts';
import { ago, duration, moment, prettyJson, visible } from './text.ts';
import { describeEvent, type TimelineEvent } from './timeline.ts';

/**
 * The signed-in start page. `more`: live sessions that an agent has beyond those listed. `waiting` is what
 * waits for this person, already rendered; null when nothing does.
 */
export function homePage(
  live: SessionView[],
  more: ReadonlyMap<string, number>,
  ended: SessionView[],
  waiting: JSX.Element | null,
  now: Date,
): JSX.Element {
  return h('div', null, [
    h('h1', null, 'Now'),
    h('p', { class: 'lede' }, nowLine(live, more.size > 0)),
    waiting === null ? null : h('section', { class: 'card' }, [h('h2', null, 'Waiting for your decision'), waiting]),
    h('section', { class: 'card' }, [
      h('h2', null, 'Sessions that live now'),
      live.length === 0 ? h('p', { class: 'soft' }, 'None that you may see.') : sessionTable(live, now),
      ...[...more].map(([agent, count]) =>
        h('p', { class: 'small soft' }, [`and ${count} more of `, h(Foreign, { text: agent }), ', older']),
      ),
    ]),
    ended.length === 0
      ? null
      : h('section', { class: 'card' }, [h('h2', null, 'Ended lately'), sessionTable(ended, now)]),
  ]);
}

/** For admins: whether anything is locked, and the way there and to who is signed in. */
export function lockedLine(standing: number): JSX.Element {
  const signedIn = h('a', { href: '/logins' }, 'Who is signed in');
  if (standing === 0)
    return h('p', { class: 'small' }, [h('a', { href: '/locks' }, 'Stop an agent, or more: locks'), ' · ', signedIn]);
  const words = standing === 1 ? 'One lock stands.' : `${standing} locks stand.`;
  return h('p', { class: 'fault' }, [words, ' ', h('a', { href: '/locks' }, 'Look'), ' · ', signedIn]);
}

function nowLine(live: SessionView[], isPart: boolean): string {
  const credentials = live.reduce((sum, session) => sum + session.live_leases, 0);
  return `${counted(live.length, 'session')} at work, ${counted(credentials, 'credential')} alive${isPart ? ', as far as they are listed' : ''}.`;
}

function sessionTable(sessions: SessionView[], now: Date): JSX.Element {
  const rows = sessions.map((session) =>
    h('tr', null, [
      h('td', null, [
        h('b', null, h(Foreign, { text: session.agent })),
        ' · ',
        h(Foreign, { text: session.task_type }),
        h('br', null),
        h('span', { class: 'small soft' }, [whomOf(session), `opened ${ago(session.opened_at, now)}`]),
      ]),
      h('td', null, statusTag(session, now)),
      h('td', { class: 'open' }, h('a', { class: 'button', href: `/sessions/${session.id}` }, 'History')),
    ]),
  );
  return h('table', { class: 'stack' }, [
    h(
      'thead',
      null,
      h(
        'tr',
        null,
        ['Session', 'State', ''].map((title) => h('th', { scope: 'col' }, title)),
      ),
    ),
    h('tbody', null, rows),
  ]);
}

function whomOf(session: SessionView): ComponentChildren {
  const whom = forWhom(session);
  return whom === null ? null : ['for ', ...whom, ', '];
}

function statusTag(session: SessionView, now: Date): JSX.Element {
  if (session.status === 'active') {
    const left = (session.expires_at.getTime() - now.getTime()) / 1000;
    return h('span', { class: 'tag good' }, `${counted(session.live_leases, 'credential')} · ${duration(left)} left`);
  }
  return session.live_leases === 0
    ? h('span', { class: 'tag' }, 'ended, nothing left')
    : h('span', { class: 'tag wait' }, `ended, ${counted(session.live_leases, 'credential')} being revoked`);
}

export interface SessionPage {
  session: SessionView;
  grants: GrantSummary[];
  leases: LeaseView[];
  events: TimelineEvent[];
  now: Date;
  /** What goes into the form that stops what the page shows; null = the viewer may not. */
  csrf: string | null;
}

/** One session: what it was for, its credentials and how each ended, and everything that happened. */
export function sessionPage({ session, grants, leases, events, now, csrf }: SessionPage): JSX.Element {
  const capabilityOf = (grantId: string | null) => grants.find((grant) => grant.id === grantId)?.capability;
  const nameOf = (event: TimelineEvent) => {
    const lease = leases.find((candidate) => candidate.id === event.lease_id);
    const told = event.payload.capability;
    const capability = capabilityOf(event.grant_id ?? lease?.grant_id ?? null);
    return nameOfAsked(capability ?? (typeof told === 'string' ? told : 'a capability'));
  };
  return h('div', null, [
    h('p', { class: 'kicker' }, session.status === 'active' ? 'Session, alive' : 'Session, ended'),
    h('h1', null, [h(Foreign, { text: session.agent }), ' · ', h(Foreign, { text: session.task_type })]),
    h('p', null, statusTag(session, now)),
    h('div', { class: 'columns' }, [
      h('section', { class: 'card' }, [
        h('h2', null, 'What happened'),
        h(
          'ol',
          { class: 'timeline' },
          events.map((event) => eventItem(event, nameOf)),
        ),
      ]),
      h('div', null, [
        csrf === null ? null : stopCard(session, leases, csrf),
        factsCard(session, now),
        leasesCard(leases, now),
      ]),
    ]),
  ]);
}

/** For an admin and the agent's owner. Of a session that has ended, only its agent is left to stop. */
function stopCard(session: SessionView, leases: LeaseView[], csrf: string): JSX.Element {
  const live = leases.filter(({ status }) => status === 'issuing' || status === 'active');
  return h('section', { class: 'card verdict' }, [
    h('h2', null, 'Stop'),
    h('form', { method: 'post', action: `/sessions/${session.id}/end` }, [
      h('input', { type: 'hidden', name: 'csrf', value: csrf }),
      h('label', { for: 'what' }, 'What'),
      h('select', { id: 'what', name: 'what' }, [
        session.status === 'ended' ? null : h('option', { value: 'session' }, 'this session and all it holds'),
        ...live.map((lease) =>
          h('option', { value: lease.id }, `only the credential ${visible(lease.capability)}, ${lease.id}`),
        ),
        h('option', { value: 'agent' }, 'the agent altogether: all its sessions, until admins lift that'),
      ]),
      h('label', { for: 'reason' }, 'Why (kept on the record)'),
      h('textarea', { id: 'reason', name: 'reason', rows: 2, maxLength: reasonMax, required: true }),
      h('button', { class: 'deny', type: 'submit' }, session.status === 'ended' ? 'Stop the agent' : 'End it'),
    ]),
  ]);
}

function eventItem(event: TimelineEvent, nameOf: (event: TimelineEvent) => string): JSX.Element {
  const { tone, text } = describeEvent(event, nameOf);
  return h('li', { class: tone }, [
    h('p', null, h(Foreign, { text, max: 700 })),
    h('details', null, [
      h('summary', null, h('span', null, [moment(event.at), ' · ', h('code', null, visible(event.type))])),
      h('pre', { tabIndex: 0 }, h('bdi', null, prettyJson({ by: event.actor, ...event.payload }))),
    ]),
  ]);
}

function factsCard(session: SessionView, now: Date): JSX.Element {
  const row = (name: string, value: ComponentChildren) => [h('dt', null, name), h('dd', null, value)];
  const inputs = Object.entries(session.inputs);
  return h('section', { class: 'card' }, [
    h('h2', null, 'The task'),
    h('dl', { class: 'facts' }, [
      row('On behalf of', forWhomFact(session)),
      row('Started by', startedByFact(session)),
      ...inputs.map(([name, value]) => row(visible(name), h('code', null, h(Foreign, { text: String(value) })))),
      row('Opened', `${moment(session.opened_at)}, ${ago(session.opened_at, now)}`),
      session.ended_at === null ? row('Ends by', moment(session.expires_at)) : row('Ended', moment(session.ended_at)),
      session.parent_id === null
        ? null
        : row('Opened by', h('a', { href: `/sessions/${session.parent_id}` }, session.parent_id)),
      row('Manifest', `version ${session.manifest_version}`),
    ]),
  ]);
}

// Shows "revoked" only for that status, which a lease gets only on the provider's confirmation, read back
// where possible.
const leaseWords: Record<string, [tone: string, word: string]> = {
  issuing: ['wait', 'being made'],
  active: ['good', 'alive'],
  revoking: ['wait', 'being revoked'],
  revoked: ['', 'revoked, proven'],
  expired: ['', 'expired'],
  failed: ['', 'never made'],
};

/** Without the last of the others, which only says that there are more. */
function shownOf(leases: LeaseView[]): LeaseView[] {
  if (leases.length <= mostLeases) return leases;
  const spare = leases.find(({ ended_at }) => ended_at !== null) ?? leases[0];
  return leases.filter((lease) => lease !== spare);
}

function leasesCard(leases: LeaseView[], now: Date): JSX.Element {
  const items = shownOf(leases).map((lease) => {
    const [tone, word] = leaseWords[lease.status] ?? ['', lease.status];
    const until =
      lease.status === 'active' ? `ends in ${duration((lease.expires_at.getTime() - now.getTime()) / 1000)}` : null;
    return h('li', null, [
      h('b', null, h(Foreign, { text: lease.capability })),
      ' ',
      h('span', { class: `tag ${tone}` }, word),
      h('div', { class: 'small soft' }, [
        visible(lease.provider),
        ' · ',
        h('code', null, lease.id),
        until === null ? null : ` · ${until}`,
      ]),
      lease.last_error === null
        ? null
        : h('div', { class: 'small' }, [
            h('code', null, visible(lease.last_error)),
            lease.provider_text === null
              ? null
              : [' ', visible(lease.provider), ' said: ', h(Foreign, { text: lease.provider_text })],
          ]),
      lease.evidence === null
        ? null
        : h('details', null, [
            h('summary', null, 'Evidence'),
            h('pre', { tabIndex: 0 }, h('bdi', null, prettyJson(lease.evidence))),
          ]),
    ]);
  });
  return h('section', { class: 'card' }, [
    h('h2', null, 'Its credentials'),
    items.length === 0 ? h('p', { class: 'soft' }, 'It was given none.') : h('ul', { class: 'leases' }, items),
    leases.length > mostLeases
      ? h('p', { class: 'soft' }, `Only ${mostLeases}: those that may be alive, and the latest of the others.`)
      : null,
  ]);
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
