/**
 * Checkpoints of the record: signed statements of where its chains were, kept outside of the database. Each
 * is a compact JWS (RFC 7515, EdDSA) and names the hash of the one before it, so that none can be changed,
 * left out or put in.
 *
 * Stands on nothing: the package `writ` verifies with it where no broker is.
 */
import { createHash, createPrivateKey, createPublicKey, hkdfSync, type KeyObject, sign, verify } from 'node:crypto';

const type = 'writ-checkpoint+jwt';

/** Where a chain was: its name, the number of its last row, and that row's hash. */
export type ChainHead = [chain: string, seq: number, hash: string];

export interface Checkpoint {
  /** 1, 2, 3 … */
  number: number;
  /** Hash of the checkpoint before, as it was written; empty for the first. */
  previous: string;
  /** ISO 8601. */
  at: string;
  /** Of the chains that moved since the checkpoint before. The first ones hold all chains. */
  heads: ChainHead[];
}

/** RFC 8410: what stands before the 32 bytes of an Ed25519 private key. */
const pkcs8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/**
 * The key that signs checkpoints, derived from the key-encryption key: every process has the same one, and no
 * database has it.
 */
export function checkpointKey(kek: Uint8Array): KeyObject {
  const seed = Buffer.from(hkdfSync('sha256', kek, 'writ', 'checkpoints', 32));
  return createPrivateKey({ key: Buffer.concat([pkcs8, seed]), format: 'der', type: 'pkcs8' });
}

/** How a key is named, and given to whoever verifies: 43 characters of base64url. */
export function publicName(key: KeyObject): string {
  return String((key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' }).x);
}

/** The number of a checkpoint of our own; its signature is not looked at. */
export const numberOf = (jws: string): number => (decode(jws.split('.')[1] ?? '') as Checkpoint).number;

export const hashOf = (jws: string): string => createHash('sha256').update(jws).digest('hex');

export function signCheckpoint(checkpoint: Checkpoint, key: KeyObject): string {
  const header = { alg: 'EdDSA', typ: type, jwk: { kty: 'OKP', crv: 'Ed25519', x: publicName(key) } };
  const input = `${encode(header)}.${encode(checkpoint)}`;
  return `${input}.${sign(null, Buffer.from(input), key).toString('base64url')}`;
}

/** What is wrong with a row of checkpoints, in words for whoever looks after it. */
export type CheckpointFault = string;

export interface ReadCheckpoints {
  /** Chain → number of a row → the hash that it must have. */
  anchors: Map<string, Map<number, string>>;
  /** How many, the last one, and the key that signed them all. */
  count: number;
  last: Checkpoint;
  key: string;
}

/**
 * Reads checkpoints from files: a JWS on a line of its own, or the member `checkpoint` of a line of JSON (the
 * broker's log, or what a collector or `docker compose logs` made of it). Other lines are passed over.
 * Several files are one row.
 *
 * @param key name of the key that must have signed; null = one and the same, whichever
 */
export function readCheckpoints(texts: readonly string[], key: string | null): ReadCheckpoints | CheckpointFault {
  const found = new Map<number, { jws: string; checkpoint: Checkpoint }>();
  let signer = key;
  for (const jws of texts.flatMap((text) => text.split('\n')).flatMap(jwsOf)) {
    const read = readOne(jws);
    if (read === null) return 'a checkpoint was changed: its signature does not hold';
    signer ??= read.key;
    if (read.key !== signer) return `checkpoint ${read.checkpoint.number} was signed by another key, ${read.key}`;
    const { checkpoint } = read;
    const same = found.get(checkpoint.number);
    // One that was delivered twice is the same to the letter.
    if (same !== undefined && same.jws !== jws)
      return `there are two checkpoints ${checkpoint.number}: the broker’s row of them was set back or removed`;
    found.set(checkpoint.number, { jws, checkpoint });
  }
  const numbers = [...found.keys()].toSorted((a, b) => a - b);
  if (numbers.length === 0 || signer === null) return 'there is no checkpoint in what was given';
  const anchors: ReadCheckpoints['anchors'] = new Map();
  let expected = 1;
  let previous = '';
  for (const number of numbers) {
    const { jws, checkpoint } = found.get(number)!;
    if (number !== expected)
      return number - 1 === expected
        ? `checkpoint ${expected} is missing`
        : `checkpoints ${expected} to ${number - 1} are missing`;
    if (checkpoint.previous !== previous) return `checkpoint ${number} does not follow the one before it`;
    for (const [chain, seq, hash] of checkpoint.heads) {
      const ofChain = anchors.get(chain) ?? new Map<number, string>();
      const known = ofChain.get(seq);
      if (known !== undefined && known !== hash)
        return `checkpoint ${number} contradicts an earlier one about chain ${chain}`;
      anchors.set(chain, ofChain.set(seq, hash));
    }
    previous = hashOf(jws);
    expected += 1;
  }
  return { anchors, count: numbers.length, last: found.get(numbers.at(-1)!)!.checkpoint, key: signer };
}

const compact = /^[\w-]+\.[\w-]+\.[\w-]+$/;

function jwsOf(line: string): string[] {
  const text = line.trim();
  return compact.test(text) ? [text] : checkpointsIn(jsonIn(text));
}

/** What collectors call the line that they took, where they put it into another. */
const wrapped = ['log', 'line', 'message', 'MESSAGE', 'textPayload'];

/** As the broker wrote it, below what a collector put around it, or in one of its members. */
function checkpointsIn(value: unknown, depth = 0): string[] {
  if (typeof value !== 'object' || value === null || depth > 2) return [];
  const { checkpoint, ...more } = value as { [name: string]: unknown };
  if (typeof checkpoint === 'string') return [checkpoint];
  return Object.entries(more).flatMap(([name, member]) =>
    checkpointsIn(typeof member === 'string' && wrapped.includes(name) ? jsonIn(member) : member, depth + 1),
  );
}

/** After a time or the name of a container, which some put before each line. */
function jsonIn(text: string): unknown {
  const begin = text.indexOf('{');
  if (begin < 0) return null;
  try {
    return JSON.parse(text.slice(begin));
  } catch {
    return null;
  }
}

function readOne(jws: string): { checkpoint: Checkpoint; key: string } | null {
  try {
    const [header = '', payload = '', signature = ''] = jws.split('.');
    const { alg, typ, jwk } = decode(header) as { alg?: unknown; typ?: unknown; jwk?: { x?: unknown } };
    if (alg !== 'EdDSA' || typ !== type) return null;
    const x = String(jwk?.x);
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    if (!verify(null, Buffer.from(`${header}.${payload}`), key, Buffer.from(signature, 'base64url'))) return null;
    return { checkpoint: decode(payload) as Checkpoint, key: x };
  } catch {
    return null;
  }
}

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const decode = (part: string): unknown => JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
