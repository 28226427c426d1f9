/**
 * What the agent's platform vouches for of the environment that a session runs in, as far as the manifest's
 * rules ask: `ref` of a GitHub workflow, the namespace of a pod. Kept with the session when it opens.
 */
import { WritError } from '../core/errors.ts';
import type { Json, JsonObject } from '../core/vocabulary.ts';
import type { Manifest } from './manifest.ts';
import { memoize } from './memoize.ts';
import { matchesWhole } from './pattern.ts';
import type { Attested } from './tool-schema.ts';

/** Longer ones say nothing that a rule could compare. */
const longest = 1024;

/** Every claim that a rule of the manifest asks for. */
const askedFor: (manifest: Manifest) => readonly Attested[] = memoize((manifest) =>
  (manifest.rules ?? []).flatMap(({ when = [], unless }) =>
    [when, unless ?? []].flat().flatMap(({ attested }) => (attested === undefined ? [] : [attested])),
  ),
);

/** Of a token's claims, those that the manifest asks for; null when there are none. */
export function attestedClaims(manifest: Manifest, claims: JsonObject): JsonObject | null {
  const kept: JsonObject = {};
  for (const asked of askedFor(manifest)) take(asked, claims, kept);
  return Object.keys(kept).length === 0 ? null : kept;
}

function take(asked: Attested, claims: JsonObject, kept: JsonObject): void {
  for (const [name, rule] of Object.entries(asked)) {
    const value = own(claims, name);
    if (isLeaf(rule)) {
      if (plain(value).length > 0) kept[name] = storable(name, value!);
    } else if (isObject(value)) {
      const below = own(kept, name);
      const inner: JsonObject = isObject(below) ? below : {};
      take(rule as Attested, value, inner);
      if (Object.keys(inner).length > 0) kept[name] = inner;
    }
  }
}

/**
 * Whether the claims are as asked; of one that is a list, one entry suffices.
 * @returns the path of a claim that nobody vouches for, where it depends on that
 */
export function attestedAs(asked: Attested, claims: JsonObject | null, path = 'attested'): boolean | { lacks: string } {
  const verdicts = Object.entries(asked).map(([name, rule]): boolean | { lacks: string } => {
    const value = claims === null ? undefined : own(claims, name);
    const here = `${path}.${name}`;
    if (!isLeaf(rule)) return attestedAs(rule as Attested, isObject(value) ? value : null, here);
    const values = plain(value);
    if (values.length === 0) return { lacks: here };
    return values.some((one) =>
      typeof rule === 'object' ? matchesWhole((rule as { pattern: string }).pattern, one) : one === String(rule),
    );
  });
  return !verdicts.includes(false) && (verdicts.find((one) => typeof one === 'object') ?? true);
}

/** `{ pattern }` is one as well. */
const isLeaf = (rule: Attested[string]) => typeof rule !== 'object' || typeof rule.pattern === 'string';

/** Texts, numbers and booleans, as text. */
const plain = (value: Json | undefined): string[] =>
  (Array.isArray(value) ? value : [value])
    .filter((one) => ['string', 'number', 'boolean'].includes(typeof one))
    .map(String)
    .filter((text) => text.length <= longest);

/**
 * What is kept of a claim: what a rule could compare.
 * @throws WritError `invalid_grant` for a text that the database cannot hold: half a character, or NUL
 */
function storable(name: string, value: Json): Json {
  const texts = plain(value);
  if (texts.some((text) => !text.isWellFormed() || text.includes('\0')))
    throw new WritError('invalid_grant', {
      detail: `The claim ${JSON.stringify(name)} of the subject token has a text that cannot be stored.`,
    });
  return Array.isArray(value) ? value.filter((one) => typeof one !== 'object') : value;
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const own = (record: JsonObject, name: string): Json | undefined =>
  Object.hasOwn(record, name) ? record[name] : undefined;
