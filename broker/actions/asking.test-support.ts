/** An agent’s host in the tests of this folder: asks for tool calls through the public door. */
import assert from 'node:assert/strict';
import type { Ground } from '../running.test-support.ts';

export type Session = Awaited<ReturnType<Ground['session']>>;

export interface Answer {
  decision: boolean;
  context: { id: string; effect: string; reasons: { code: string; policy_id?: string }[] };
}

export const subject = { type: 'agent', id: 'scripted-agent' };

/** @param more of the call’s context, beside its arguments */
export const bodyOf = (name: string, args: unknown, more: object = {}) => ({
  subject,
  action: { name },
  resource: { type: 'tool', id: name },
  context: { arguments: args, ...more },
});

/** @param url of the broker; '' = the first one's */
export const ask = (session: Session, name: string, args: unknown = {}, more: object = {}, url = '') =>
  session(`${url}/access/v1/evaluation`, bodyOf(name, args, more));

export async function call(...asked: Parameters<typeof ask>): Promise<Answer> {
  const response = await ask(...asked);
  assert.equal(response.status, 200, await response.clone().text());
  return (await response.json()) as Answer;
}

export const codes = ({ context }: Answer): string[] => context.reasons.map(({ code }) => code);
