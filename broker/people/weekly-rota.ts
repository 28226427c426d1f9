/**
 * Rotas in a file: people who take turns of a week each, over and over, and the hour at which they hand over.
 * Pure.
 */
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { isOwnerName, isRotaName } from '../core/identifier.ts';
import type { Clock } from '../core/vocabulary.ts';
import type { OnCall } from './on-call.ts';

export const onCallPerson = z
  .string()
  .max(300)
  .refine((name) => name.startsWith('user:') && isOwnerName(name), 'must be user:<e-mail> or user:<kind>:<name>');

const turn = z.union([onCallPerson.transform((one) => [one]), z.array(onCallPerson).min(1).max(20)]);

const rota = z.strictObject({
  /** Of the IANA time zone database: `Europe/Berlin`. */
  zone: z.string().max(64).refine(isZone, 'must be a time zone such as Europe/Berlin'),
  /** When the first turn began, by the clock on the wall there. */
  handover: z.string().refine((text) => wallTime(text) !== null, 'must be a local time such as 2026-11-23T09:00'),
  turns: z.array(turn).min(1).max(100),
});

const file = z.strictObject({
  rotas: z.record(z.string().refine(isRotaName, 'must be lower-case letters, digits, _ and -'), rota),
});

export type WeeklyRotas = ReadonlyMap<string, z.output<typeof rota>>;

/** @returns the faults of the text, where it has any */
export function readWeeklyRotas(text: string): WeeklyRotas | string[] {
  const document = parseDocument(text, { uniqueKeys: true });
  if (document.errors.length > 0) return document.errors.map(({ message }) => message.split('\n')[0] as string);
  // No alias is followed: a short file must not stand for a long one.
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: 0 });
  } catch {
    return ['must have no aliases'];
  }
  const parsed = file.safeParse(content);
  if (!parsed.success) return parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  return new Map(Object.entries(parsed.data.rotas));
}

const weekMs = 7 * 86_400_000;

/** Whose turn it is at a time; nobody's before the first one. */
export function turnAt({ zone, handover, turns }: z.output<typeof rota>, at: Date): readonly string[] {
  // Weeks of the clock on the wall: a turn ends at the same hour in summer and in winter.
  const weeks = Math.floor((wallClock(zone, at) - (wallTime(handover) as number)) / weekMs);
  return weeks < 0 ? [] : (turns[weeks % turns.length] as string[]);
}

export const weeklyOnCall = (rotas: WeeklyRotas, clock: Clock): OnCall => ({
  peopleOn: async (name) => {
    const found = rotas.get(name);
    return found === undefined ? [] : turnAt(found, clock.now());
  },
});

function isZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** A wall's time as a number that can be compared with `wallClock`; null where it is none. */
function wallTime(text: string): number | null {
  const at = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$/.test(text) ? Date.parse(`${text}Z`) : Number.NaN;
  // Date.parse takes the 31st of June for the 1st of July.
  return Number.isNaN(at) || !new Date(at).toISOString().startsWith(text) ? null : at;
}

function wallClock(zone: string, at: Date): number {
  const parts = new Intl.DateTimeFormat('en', {
    timeZone: zone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  }).formatToParts(at);
  const of = (type: string) => Number(parts.find((part) => part.type === type)?.value);
  return Date.UTC(of('year'), of('month') - 1, of('day'), of('hour'), of('minute'), of('second'));
}
