/** `writ lock`: stops an agent, an owner, a capability, a provider or everything; another admin lifts it. */
import { askAdmin, type Environment } from './admin.ts';
import { CommandError } from './broker-side.ts';
import { visible } from './manifest-diff.ts';
import { reasonFor } from './manifest-publish.ts';

const levels = ['agent', 'owner', 'capability', 'provider', 'everything'] as const;
type Level = (typeof levels)[number];
export const isLevel = (text: string | undefined): text is Level => levels.some((level) => level === text);

interface Lock {
  id: string;
  level: Level;
  subject: string;
  reason: string;
  set_by: string;
  set_at: string;
  stands: boolean;
  proven: boolean;
  lifted_by: string | null;
  lifted_at: string | null;
  lift_reason: string | null;
  sessions: { ended: number; ending: number };
  leases: {
    waiting: number;
    revoking: number;
    not_provable_yet: number;
    revoked: number;
    expired: number;
    failed: number;
  };
  done: boolean;
}

export interface LockOptions {
  reason: string | undefined;
  json: boolean;
}

const asJson = (body: object) => ({ type: 'application/json', text: JSON.stringify(body) });

/** Sets a lock. Nobody is asked whether it is meant: it can be lifted again. */
export async function setLock(
  env: Environment,
  level: Level,
  subject: string | undefined,
  options: LockOptions,
): Promise<number> {
  const reason = await reasonFor(options);
  const body = { level, ...(subject === undefined ? {} : { subject }), reason };
  const lock = (await askAdmin(env, 'POST', '/v1/locks', asJson(body))) as Lock;
  if (options.json) console.log(JSON.stringify(lock));
  else {
    console.log(`✔ ${what(lock)} is locked: ${lock.id}`);
    console.log(howFar(lock));
  }
  return 0;
}

/** Lists every lock that stands, and the latest of the others. */
export async function listLocks(env: Environment, { json }: LockOptions): Promise<number> {
  const { locks } = (await askAdmin(env, 'GET', '/v1/locks')) as { locks: Lock[] };
  if (json) {
    console.log(JSON.stringify(locks));
    return 0;
  }
  for (const lock of locks) {
    console.log(
      `${lock.stands ? '✘' : '·'} ${lock.id}  ${what(lock)}  ${lock.set_at}  ${visible(lock.set_by)}: ${visible(lock.reason)}`,
    );
    if (lock.stands && !lock.proven)
      console.log('  its row was written or changed by somebody else: set it anew before it can be lifted');
    if (lock.lifted_by !== null)
      console.log(`  lifted ${lock.lifted_at}  ${visible(lock.lifted_by)}: ${visible(lock.lift_reason ?? '')}`);
    console.log(howFar(lock));
  }
  if (locks.length === 0) console.log('· nothing is or was locked');
  return 0;
}

/** Lifts a lock: by its id, or by what it stands on. */
export async function liftLock(env: Environment, named: string[], options: LockOptions): Promise<number> {
  const id = await idOf(env, named);
  const reason = await reasonFor(options);
  const lock = (await askAdmin(env, 'POST', `/v1/locks/${encodeURIComponent(id)}/lift`, asJson({ reason }))) as Lock;
  console.log(options.json ? JSON.stringify(lock) : `✔ ${what(lock)} is no longer locked; what was ended stays ended`);
  return 0;
}

async function idOf(env: Environment, [first = '', subject = '']: string[]): Promise<string> {
  if (!isLevel(first)) return first;
  const { locks } = (await askAdmin(env, 'GET', '/v1/locks')) as { locks: Lock[] };
  const lock = locks.find((one) => one.stands && one.level === first && one.subject === subject);
  if (lock === undefined) throw new CommandError(`no lock stands on ${what({ level: first, subject })}`);
  return lock.id;
}

const what = ({ level, subject }: Pick<Lock, 'level' | 'subject'>): string =>
  level === 'everything' ? 'everything' : `the ${level} ${visible(subject)}`;

function howFar({ sessions, leases, done }: Lock): string {
  const told = [
    [sessions.ended, `session${sessions.ended === 1 ? '' : 's'} ended`],
    [sessions.ending, 'still to end'],
    [leases.waiting, 'waiting to be revoked'],
    [leases.revoking, 'being revoked'],
    [leases.not_provable_yet, 'not provable yet'],
    [leases.revoked, 'revoked, proven'],
    [leases.expired, 'expired'],
  ] as const;
  const parts = told.filter(([count]) => count > 0).map(([count, words]) => `${count} ${words}`);
  if (parts.length === 0) return '  nothing lived under it';
  return `  ${parts.join(', ')}${done ? '; nothing is left' : '; writ lock list says how it goes on'}`;
}
