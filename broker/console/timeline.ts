/** A session's events as the console tells them. */
import { type EventWords, eventWords } from '../audit/words.ts';
import type { JsonObject } from '../core/vocabulary.ts';

/** An audit event as the timeline reads it. */
export interface TimelineEvent {
  seq: number;
  at: Date;
  type: string;
  actor: string;
  grant_id: string | null;
  lease_id: string | null;
  payload: JsonObject;
}

/** @param nameOf what the grant or lease is called: its capability */
export function describeEvent(event: TimelineEvent, nameOf: (event: TimelineEvent) => string): EventWords {
  return eventWords(event, nameOf(event));
}
