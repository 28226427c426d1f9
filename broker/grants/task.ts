/**
 * A grant as the task of an access request (AuthZEN's Access Request and Approval Profile, "Task Status
 * Values").
 */
import { aboutCall, aboutSession, isBatch, isQuestion } from '../core/questions.ts';
import type { Plan, Reason } from '../core/vocabulary.ts';
import type { Store } from '../store/open.ts';
import { describeQuestion } from './question.ts';
import type { GrantWait } from './read-grant.ts';
import type { GrantDeps } from './request-grant.ts';

export interface Task {
  id: string;
  status: 'pending' | 'approved' | 'denied' | 'expired' | 'cancelled';
  /** Undecided by then, it expires; null once it is decided. */
  expiresAt: Date | null;
  /** Where a person decides; null once it is decided. */
  reviewUrl: string | null;
  title: string;
  description: string;
  /** Whether the agent may take it back: what lifts its own session's restraint it may not. */
  cancellable: boolean;
  /** When it was approved, and until when that can be used. */
  approval: { at: Date | null; until: Date } | null;
}

type TaskDeps = Pick<GrantDeps, 'store' | 'providers' | 'publicUrl' | 'clock'>;

/** @returns null for what is no grant of this session */
export async function readTask(deps: TaskDeps, sessionId: string, grantId: string): Promise<Task | null> {
  const grant = await deps.store.prisma.grant.findFirst({ where: { id: grantId, sessionId } });
  if (grant === null) return null;
  const status = statusOf(grant.status, grant.decision as { reasons?: Reason[] });
  const pending = status === 'pending';
  const plan = grant.plan as unknown as Plan;
  const description = describeQuestion(plan) ?? deps.providers.get(grant.provider)?.describe(plan);
  return {
    id: grantId,
    status,
    expiresAt: pending ? grant.decideBy : null,
    reviewUrl: pending ? `${deps.publicUrl}/approvals/${grantId}` : null,
    cancellable: pending && grant.capability !== aboutSession,
    title: titleOf(grant.capability),
    description: (description?.summary ?? []).join('. '),
    approval: status === 'approved' ? { at: grant.decidedAt, until: untilWhen(grant, deps.clock.now()) } : null,
  };
}

function titleOf(capability: string): string {
  if (isBatch(capability)) return 'Several capabilities at once';
  return isQuestion(capability) ? 'A question to a person' : `The capability ${capability}`;
}

/** How far it has got; null where there is no such grant. For whoever is told by a callback. */
export async function readTaskStatus({ prisma }: Pick<Store, 'prisma'>, id: string): Promise<Task['status'] | null> {
  const grant = await prisma.grant.findUnique({ where: { id }, select: { status: true, decision: true } });
  return grant === null ? null : statusOf(grant.status, grant.decision as { reasons?: Reason[] });
}

/** The action that a question was about; null for what is no question about a call of this session. */
export async function approvedAction(
  { prisma }: Pick<Store, 'prisma'>,
  sessionId: string,
  grantId: string,
): Promise<string | null> {
  const grant = await prisma.grant.findFirst({
    where: { id: grantId, sessionId, capability: { startsWith: aboutCall('') } },
    select: { idempotencyKey: true },
  });
  return grant?.idempotencyKey ?? null;
}

/** What was approved stays so; that it was used, or is over, its end says. */
function statusOf(status: string, { reasons = [] }: { reasons?: Reason[] }): Task['status'] {
  if (status === 'pending') return 'pending';
  if (status !== 'denied') return 'approved';
  switch (reasons[0]?.code) {
    case 'not_redeemed':
      return 'approved';
    case 'timeout':
      return 'expired';
    case 'cancelled':
    case 'session_ended':
    case 'locked':
    case 'manifest_narrowed':
    case 'owner_changed':
      return 'cancelled';
    default:
      return 'denied';
  }
}

/** An approval that was used is good for nothing more. */
function untilWhen(grant: { status: string; decideBy: Date | null; endedAt: Date | null }, now: Date): Date {
  if (grant.status === 'approved' && grant.decideBy !== null) return grant.decideBy;
  return grant.decideBy !== null && grant.decideBy < now ? grant.decideBy : now;
}

/** Answers as soon as the task is decided, or when the wait is over. @throws WritError `rate_limited` */
export async function waitForTask(
  deps: TaskDeps,
  sessionId: string,
  grantId: string,
  { seconds, signal, poller, decided }: GrantWait,
): Promise<Task | null> {
  const task = await readTask(deps, sessionId, grantId);
  if (task?.status !== 'pending' || seconds === 0) return task;
  await poller.wait({ poll: decided, id: grantId, sessionId, seconds, signal });
  return signal.aborted ? task : readTask(deps, sessionId, grantId);
}
