/**
 * `writ break-glass`: lists break-glasses, closes one, reviews one, as a signed-in person. Asking and
 * agreeing take a passkey, and so a browser.
 */
import { askAdmin, type Environment } from './admin.ts';
import { CommandError } from './broker-side.ts';
import { visible } from './manifest-diff.ts';
import { reasonFor } from './manifest-publish.ts';

interface BreakGlass {
  id: string;
  agent: string;
  session: string | null;
  capabilities: string[];
  reason: string;
  incident: string;
  state: 'waiting' | 'open' | 'to_review' | 'reviewed' | 'lapsed';
  proven: boolean;
  asked_by: string;
  agree_by: string;
  agreed_by: string | null;
  expires_at: string | null;
  ended_at: string | null;
  review_due_at: string | null;
  overdue: boolean;
  reviewed_by: string | null;
  review: string | null;
  uses: { lease_status: string | null }[];
}

export interface BreakGlassOptions {
  reason: string | undefined;
  json: boolean;
}

export async function listBreakGlasses(env: Environment, { json }: BreakGlassOptions): Promise<number> {
  const { break_glasses } = (await ask(env, 'GET', '/v1/break-glass')) as { break_glasses: BreakGlass[] };
  if (json) {
    console.log(JSON.stringify(break_glasses));
    return 0;
  }
  for (const one of break_glasses) for (const text of told(one)) console.log(text);
  if (break_glasses.length === 0) console.log('· no glass is or was broken');
  return 0;
}

/**
 * Asking and agreeing are signed by a passkey, which no terminal has.
 * @param id of the one to agree to
 * @returns 1: nothing was done
 */
export function leadToBrowser({ WRIT_URL: url }: Environment, id?: string): number {
  if (!url) throw new CommandError('WRIT_URL is not set: it is the broker’s address');
  if (id !== undefined && !/^bgl_[0-9a-z]{20}$/.test(id))
    throw new CommandError(`${visible(id)} is no break-glass: an id begins with bgl_`);
  const page = new URL(id === undefined ? '/break-glass' : `/break-glass/${id}`, url);
  console.error(`nothing was sent: a passkey signs this, in a browser: ${page.href}`);
  return 1;
}

/** Closes one that is open, or refuses one that waits. */
export async function closeBreakGlass(env: Environment, id: string, options: BreakGlassOptions): Promise<number> {
  const body = { reason: await reasonFor(options) };
  const one = (await ask(env, 'POST', `/v1/break-glass/${encodeURIComponent(id)}/close`, body)) as BreakGlass;
  console.log(options.json ? JSON.stringify(one) : `✔ ${id} gives nothing any more; ${howFar(one)}`);
  return 0;
}

/** Reviews one that is over, as neither of the two. */
export async function reviewBreakGlass(env: Environment, id: string, options: BreakGlassOptions): Promise<number> {
  const body = { words: await reasonFor(options) };
  const one = (await ask(env, 'POST', `/v1/break-glass/${encodeURIComponent(id)}/review`, body)) as BreakGlass;
  console.log(options.json ? JSON.stringify(one) : `✔ ${id} is reviewed`);
  return 0;
}

function ask(env: Environment, method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> {
  if (env.WRIT_ADMIN_TOKEN?.startsWith('writ_admin_'))
    throw new CommandError(
      'the bootstrap token says nothing of who holds it: WRIT_ADMIN_TOKEN must be what the console’s cookie (writ_login) holds of you',
    );
  const sent = body === undefined ? undefined : { type: 'application/json', text: JSON.stringify(body) };
  return askAdmin(env, method, path, sent);
}

const marks = { waiting: '?', open: '✘', to_review: '!', reviewed: '·', lapsed: '·' } as const;

function told(one: BreakGlass): string[] {
  const whom = `${visible(one.agent)}${one.session === null ? '' : ` (${one.session} alone)`}`;
  const people = [one.asked_by, one.agreed_by].filter((name) => name !== null).map((name) => visible(name));
  const state = {
    waiting: `waits for another person until ${one.agree_by}`,
    open: `open until ${one.expires_at}`,
    to_review: `over; ${one.overdue ? 'should have been reviewed by' : 'to be reviewed by'} ${one.review_due_at}`,
    reviewed: `reviewed by ${visible(one.reviewed_by ?? '')}: ${visible(one.review ?? '')}`,
    lapsed: 'never began',
  }[one.state];
  return [
    `${marks[one.state]} ${one.id}  ${whom}: ${one.capabilities.map((name) => visible(name)).join(', ')}  ${state}`,
    `  ${people.join(' and ')}, ${visible(one.incident)}: ${visible(one.reason)}`,
    ...(one.proven ? [] : ['  its row was written or changed by somebody else: find out who changed the database']),
    ...(one.uses.length === 0 ? [] : [`  ${howFar(one)}`]),
  ];
}

function howFar({ uses }: BreakGlass): string {
  if (uses.length === 0) return 'nothing was given by it';
  const counts = new Map<string, number>();
  for (const { lease_status } of uses) {
    const status = lease_status ?? 'not minted';
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  return `${uses.length} given by it: ${[...counts].map(([status, count]) => `${count} ${status}`).join(', ')}`;
}
