/**
 * Holds the rows that a test has written against the closed list: their types, and the shapes of their
 * payloads.
 */
import assert from 'node:assert/strict';
import type { Store } from '../store/open.ts';
import { type EventType, isEventType, payloadFault } from './events.ts';

/** @returns the types that were written */
export async function assertEventsFit(store: Store): Promise<Set<EventType>> {
  const rows = await store.prisma.auditEvent.findMany({
    select: { chain: true, seq: true, type: true, payload: true },
  });
  const written = new Set<EventType>();
  for (const { chain, seq, type, payload } of rows) {
    assert.ok(isEventType(type), `${type} is not in events.ts (row ${seq} of ${chain})`);
    const fault = payloadFault(type, payload);
    assert.equal(fault, null, `${type}, row ${seq} of ${chain}, carries ${JSON.stringify(payload)}: ${fault}`);
    written.add(type);
  }
  return written;
}
