/**
 * Deciding although something is not known: in every way in which it may have been. Where all of them come to
 * the same, that is the decision.
 */

/** Unknown things of which every combination is tried; of more, none, all, each alone, and all but each. */
const maxWhole = 4;

/** Every way in which the unknown things may have been so or not. */
export function waysOf<One>(unknown: readonly One[]): One[][] {
  if (unknown.length <= maxWhole)
    return Array.from({ length: 2 ** unknown.length }, (_, way) => unknown.filter((_, at) => (way >> at) % 2 === 1));
  return [
    [],
    [...unknown],
    ...unknown.map((one) => [one]),
    ...unknown.map((one) => unknown.filter((other) => other !== one)),
  ];
}
