/**
 * What may be called without asking: a snapshot that the broker signed, and the check of a call against it.
 * The check is synchronous. It lets through less than the broker would, never more: what it cannot tell is
 * asked for over the network.
 */
import { compactVerify, createLocalJWKSet, type JSONWebKeySet } from 'jose';
import { matchesProgram, type PatternProgram } from './pattern.ts';

type Scalar = string | number | boolean;
type Values = { [name: string]: unknown };

interface Limit {
  path: readonly string[];
  optional: boolean;
  values?: readonly Scalar[];
  min?: number;
  max?: number;
  pattern?: PatternProgram;
}

export interface Snapshot {
  /** As it was given: goes with the report of what was called by it. */
  jws: string;
  /** By the host's clock, which need not be the broker's: from when it was asked for until it is over. */
  from: number;
  until: number;
  /** The broker's time at `from`, in milliseconds, as the host reports calls. */
  issuedAt: number;
  tools: ReadonlyMap<string, { args: readonly Limit[]; only: ReadonlySet<string> | null }>;
}

const type = 'writ-snapshot+jwt';
/** No snapshot is good for longer, whatever it says. */
const longestSeconds = 60;
/** How far the host's clock may be from the broker's: beyond it, calls are asked for. */
const skewSeconds = 5;

/**
 * Verifies a snapshot: signed by one of the broker's keys, of this type, for this session, and not over.
 * @param asked when it was asked for, in milliseconds
 * @returns null for anything else
 */
export async function readSnapshot(
  jws: string,
  keys: JSONWebKeySet,
  { issuer, sessionId, asked }: { issuer: string; sessionId: string; asked: number },
): Promise<Snapshot | null> {
  try {
    const { payload, protectedHeader } = await compactVerify(jws, createLocalJWKSet(keys), { algorithms: ['ES256'] });
    if (protectedHeader.typ !== type) return null;
    const { iss, aud, sid, iat, exp, tools } = JSON.parse(new TextDecoder().decode(payload)) as Values;
    if (iss !== issuer || aud !== issuer || sid !== sessionId) return null;
    if (typeof iat !== 'number' || typeof exp !== 'number' || exp <= iat || exp - iat > longestSeconds) return null;
    if (exp + skewSeconds <= asked / 1000 || iat - skewSeconds > asked / 1000 + longestSeconds) return null;
    if (!Array.isArray(tools)) return null;
    return {
      jws,
      from: asked,
      until: asked + (exp - iat) * 1000,
      issuedAt: iat * 1000,
      tools: toolsOf(tools),
    };
  } catch {
    return null;
  }
}

/** What it says of tools. @throws TypeError */
export const toolsOf = (tools: Values[]): Snapshot['tools'] => new Map(tools.map(readTool));

/** What it says of one tool. @throws TypeError where it says what this version does not know */
function readTool(wire: Values): [string, { args: Limit[]; only: Set<string> | null }] {
  const { name, args, only } = wire as { name: string; args: Values[]; only: string[] | null };
  if (typeof name !== 'string' || (only !== null && !Array.isArray(only))) throw new TypeError('no tool');
  const limits = args.map(({ path, ...limit }) => {
    const known = ['optional', 'values', 'min', 'max', 'pattern'];
    if (Object.keys(limit).some((member) => !known.includes(member))) throw new TypeError('an unknown limit');
    return { ...(limit as unknown as Limit), path: String(path).split('.') };
  });
  return [name, { args: limits, only: only === null ? null : new Set(only) }];
}

/** Whether the snapshot holds at this moment. @param now milliseconds */
export const holds = ({ from, until }: Snapshot, now: number): boolean => now >= from && now < until;

/** Longer arguments are asked for: what they hold is looked at by whoever has the time. */
const longestArguments = 8_192;

/**
 * The arguments as JSON has them: what is checked is what is reported, whatever becomes of the caller's
 * objects.
 * @returns undefined where they are not JSON, or too long
 */
export function plainArguments(args: Values): Values | undefined {
  try {
    const text = JSON.stringify(args);
    if (text.length > longestArguments) return undefined;
    const plain = JSON.parse(text) as unknown;
    return typeof plain === 'object' && plain !== null && !Array.isArray(plain) ? (plain as Values) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether the snapshot lets a call through.
 * @param args of `plainArguments`
 */
export function covers(snapshot: Snapshot, tool: string, args: Values): boolean {
  const listed = snapshot.tools.get(tool);
  if (listed === undefined) return false;
  if (listed.only !== null && Object.keys(args).some((name) => !listed.only!.has(name))) return false;
  return listed.args.every((limit) => isInside(limit, args)) && !mayHoldCredential(args);
}

/** Lists, nulls and objects are the broker's to look into. */
function isInside({ path, optional, values, min, max, pattern }: Limit, args: Values): boolean {
  let value: unknown = args;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
    value = Object.hasOwn(value, name) ? (value as Values)[name] : undefined;
    if (value === undefined) return optional;
  }
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return false;
  if (values !== undefined && !values.includes(value)) return false;
  if (min !== undefined && !(typeof value === 'number' && value >= min)) return false;
  if (max !== undefined && !(typeof value === 'number' && value <= max)) return false;
  return pattern === undefined || (typeof value === 'string' && matchesProgram(pattern, value));
}

/** Characters in a row that a text must share with a credential for the broker to recognise it. */
const shortestShared = 16;

/**
 * Whether something in the arguments may be a credential, written in one piece or in several, encoded or not:
 * the broker looks for those that it issued, so it has to be asked. Takes more for one than the broker does.
 */
export function mayHoldCredential(args: Values): boolean {
  const texts: string[] = [];
  let pieces = 0;
  const walk = (one: unknown): void => {
    if (typeof one === 'string' || typeof one === 'number') {
      const text = visible(String(one));
      texts.push(text);
      // What stands alone may be put together again.
      if (/^\S+$/u.test(text) && mayBeToken(text)) pieces += text.length;
    } else if (typeof one === 'object' && one !== null) {
      for (const [name, member] of Object.entries(one)) {
        if (!Array.isArray(one)) texts.push(visible(name));
        walk(member);
      }
    }
  };
  walk(args);
  if (pieces >= shortestShared) return true;
  return texts.some((text) => text.split(/\s+/u).some((word) => word.length >= shortestShared && mayBeToken(word)));
}

const visible = (text: string): string => text.normalize('NFKC').replace(/\p{Default_Ignorable_Code_Point}/gu, '');

/** Random letters and digits have a digit, or both cases; or are longer than any word. */
const mayBeToken = (word: string): boolean =>
  /[0-9]|(?:[A-Za-z][-_+/]*){32}/.test(word) || (/[a-z]/.test(word) && /[A-Z]/.test(word));
