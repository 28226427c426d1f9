/**
 * Calls that a person must agree to. The client waits as long as it can; a client that can show a page to the
 * person before it is given the page's address (URL elicitation); and to the model is said what to do.
 */
import type { Clock } from '../clock.ts';
import type { Members } from '../coaz.ts';
import { type CallApproval, type CallDecision, explain } from '../decision.ts';
import type { HostCall, HostSession } from '../local/host-session.ts';
import { keepRecent } from '../local/recent.ts';
import { hasResultType } from './answers.ts';
import { isMembers, type Request, type Response } from './message.ts';

export type Decided =
  | { decision: CallDecision; text: string }
  /** The client is asked for something first (multi-round-trip, 2026-07-28). */
  | { answer: Members };

export interface Approvals {
  /** What the client can do, where it says so once (`initialize`). */
  initialized(params: Members | undefined): void;
  /** The call that a client comes back for with our own state. */
  callOf(requestState: string): string | undefined;
  /** The call that waits for a person under this tool and these arguments. */
  pendingCall(key: string): string | undefined;
  /** @throws WritError */
  decide(request: Request, key: string, call: HostCall & { callId: string }, stop: AbortSignal): Promise<Decided>;
}

interface ApprovalOptions {
  session: HostSession;
  clock: Clock;
  waitSeconds: number;
  askClient(method: string, params: Members): Promise<Response>;
  notifyClient(method: string, params: Members): void;
}

/** Where a client that hears nothing meanwhile still waits: most give up after 60 s. */
const silentSeconds = 45;
const pollSeconds = 10;
const maxRemembered = 1_000;
const capabilitiesKey = 'io.modelcontextprotocol/clientCapabilities';

export function newApprovals({ session, clock, waitSeconds, askClient, notifyClient }: ApprovalOptions): Approvals {
  let clientCapabilities: unknown;
  /** By tool and arguments: asked again, it is the same call, which a person may have agreed to by now. */
  const pending = new Map<string, string>();
  /** By our state: the call. */
  const states = new Map<string, string>();

  /** A person's decision, as far as it comes in time. A client that listens is told that we wait. */
  const wait = async (approval: CallApproval, request: Request, stop: AbortSignal): Promise<CallApproval> => {
    const token = isMembers(request.params?._meta) ? request.params._meta.progressToken : undefined;
    const seconds = token === undefined ? Math.min(waitSeconds, silentSeconds) : waitSeconds;
    const startedAt = clock.now().getTime();
    const passed = () => (clock.now().getTime() - startedAt) / 1000;
    const givenUp = new Promise<CallApproval>((resolve) =>
      stop.addEventListener('abort', () => resolve(approval), { once: true }),
    );
    let seen = approval;
    for (let progress = 1; seen.status === 'pending' && passed() < seconds && !stop.aborted; progress += 1) {
      if (token !== undefined)
        notifyClient('notifications/progress', {
          progressToken: token,
          progress,
          message: 'A person is asked to agree',
        });
      const polledAt = passed();
      const poll = Math.max(1, Math.min(pollSeconds, Math.floor(seconds - polledAt)));
      seen = await Promise.race([session.approval(approval.id, poll), givenUp]);
      // A broker that answers early must not be asked in a tight loop.
      if (seen.status === 'pending' && passed() - polledAt < 1) await clock.sleep(1000, stop).catch(() => {});
    }
    return seen;
  };

  /** Shows the page to whoever sits before the client. The page is for people who may decide. */
  const show = (approval: CallApproval, tool: string): { done(): void } => {
    const elicitationId = crypto.randomUUID();
    void askClient('elicitation/create', { mode: 'url', elicitationId, ...page(approval, tool) });
    return { done: () => notifyClient('notifications/elicitation/complete', { elicitationId }) };
  };

  return {
    initialized: (params) => {
      clientCapabilities = params?.capabilities;
    },
    callOf: (requestState) => states.get(requestState),
    pendingCall: (key) => pending.get(key),
    decide: async (request, key, call, stop) => {
      const { tool, callId } = call;
      let decision = await session.evaluate(call);
      const { approval } = decision;
      if (decision.effect === 'approve' && approval !== undefined) {
        keepRecent(pending, key, callId, maxRemembered);
        const perRequest = hasResultType(request);
        const comesBack = typeof request.params?.requestState === 'string' && states.has(request.params.requestState);
        const canShow =
          approval.url !== undefined && showsPages(perRequest ? capabilitiesIn(request) : clientCapabilities);
        if (perRequest && canShow && !comesBack) {
          const requestState = `writ.${crypto.randomUUID()}`;
          keepRecent(states, requestState, callId, maxRemembered);
          const params = { mode: 'url', ...page(approval, tool) };
          const inputRequests = { writ_approval: { method: 'elicitation/create', params } };
          return { answer: { resultType: 'input_required', inputRequests, requestState } };
        }
        const shown = !perRequest && canShow ? show(approval, tool) : null;
        const { status } = await wait(approval, request, stop);
        shown?.done();
        if (status !== 'pending') decision = await session.evaluate(call);
        if (decision.effect === 'approve' && decision.approval?.status === 'pending') {
          const text = `${explain(tool, decision)} It was asked for: call ${tool} again with the same arguments once they have agreed, or go on without it.`;
          return { decision, text };
        }
      }
      pending.delete(key);
      return { decision, text: explain(tool, decision) };
    },
  };
}

function page({ url }: CallApproval, tool: string): Members {
  return {
    url,
    message: `A call of ${tool} waits for somebody who may decide about it. Their page is at this address.`,
  };
}

function capabilitiesIn({ params }: Request): unknown {
  return isMembers(params?._meta) ? params._meta[capabilitiesKey] : undefined;
}

/** Whether it can show a page's address (`elicitation.url`, since 2025-11-25). */
function showsPages(capabilities: unknown): boolean {
  return isMembers(capabilities) && isMembers(capabilities.elicitation) && isMembers(capabilities.elicitation.url);
}
