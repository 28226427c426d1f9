/**
 * What an approver may leave out of a request: members of the lists among its parameters. What is left is
 * planned anew by the provider, which then says whether that is surely less. Pure.
 */
import type { Provider } from '../../providers/contract.ts';
import { WritError } from '../core/errors.ts';
import type { Json, JsonObject, Plan } from '../core/vocabulary.ts';

/** A member of a list. */
export interface Part {
  /** JSON Pointer (RFC 6901) into the parameters as they were asked for. */
  pointer: string;
  /** The list, as people read it: `tables 1, read`. */
  list: string;
  text: string;
}

/** More than that nobody ticks off. */
const maxParts = 100;

/** Members of lists that have others beside them, in their order; none of more than a hundred. */
export function partsOf(params: JsonObject, leftOut: readonly string[] = []): Part[] {
  const parts: Part[] = [];
  walk(params, '', '');
  return parts.length > maxParts ? [] : parts;

  function walk(value: Json, pointer: string, name: string): void {
    if (typeof value !== 'object' || value === null) return;
    if (!Array.isArray(value)) {
      for (const [key, member] of Object.entries(value))
        walk(member, `${pointer}/${escaped(key)}`, name === '' ? key : `${name}, ${key}`);
      return;
    }
    const kept = value
      .map((member, index) => ({ member, index }))
      .filter(({ index }) => !leftOut.includes(`${pointer}/${index}`));
    for (const { member, index } of kept) {
      if (kept.length > 1)
        parts.push({
          pointer: `${pointer}/${index}`,
          list: name,
          text: typeof member === 'string' ? member : JSON.stringify(member),
        });
      walk(member, `${pointer}/${index}`, `${name} ${index + 1}`);
    }
  }
}

const escaped = (key: string) => key.replaceAll('~', '~0').replaceAll('/', '~1');

function without(value: Json, leftOut: ReadonlySet<string>, pointer = ''): Json {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value))
    return value.flatMap((member, index) => {
      const at = `${pointer}/${index}`;
      return leftOut.has(at) ? [] : [without(member, leftOut, at)];
    });
  return Object.fromEntries(
    Object.entries(value).map(([key, member]) => [key, without(member, leftOut, `${pointer}/${escaped(key)}`)]),
  );
}

/**
 * The plan of what is left, with the lifetime of the one that stands.
 * @param leftOut pointers of all parts that are left out, by whomever
 * @throws WritError `bad_request`: a part that is not there, nothing of a list is left, or the provider does
 *   not say that it is less
 */
export function narrowedPlan(provider: Provider, params: JsonObject, plan: Plan, leftOut: readonly string[]): Plan {
  const refused = (message: string) =>
    new WritError('bad_request', { detail: message, errors: [{ path: 'keep', message }] });
  const known = new Set(partsOf(params).map(({ pointer }) => pointer));
  if (leftOut.some((pointer) => !known.has(pointer))) throw refused('Only what was asked for can be left out.');
  if (provider.narrower === undefined) throw refused(`Nothing can be left out of a permission of ${provider.name}.`);
  const parsed = provider.params.safeParse(without(params, new Set(leftOut)));
  if (!parsed.success) throw refused('Leave something of each list, or deny it.');
  let narrowed: Plan;
  try {
    narrowed = { ...provider.plan(parsed.data, plan.ttl_seconds), ttl_seconds: plan.ttl_seconds };
  } catch {
    throw refused('What is left is no permission that the provider gives.');
  }
  if (!provider.narrower(narrowed, plan)) throw refused('The provider does not say that this is less.');
  return narrowed;
}
