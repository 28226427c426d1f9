/**
 * Warnings: what a manifest may say and its author should know. They keep nothing from being published; what
 * does is a fault (`check.ts`).
 */
import type { FieldFault } from '../core/errors.ts';
import { nearName } from '../core/near-name.ts';
import type { ProviderShapes } from './check.ts';
import { type Manifest, member } from './manifest.ts';
import { faultAt, inReadingOrder, type Locate } from './parse.ts';

/** What each provider says of the fixed parameters of its capabilities, with line and column. */
export function warningsOf(manifest: Manifest, providers: ProviderShapes, locate: Locate): FieldFault[] {
  const warnings: FieldFault[] = [];
  for (const [name, capability] of Object.entries(manifest.capabilities)) {
    const advice = member(providers, capability.provider)?.advise?.(capability.params) ?? [];
    for (const { path, message, near } of advice) {
      const meant = near === undefined ? null : nearName(near.written, near.known);
      const words = meant === null ? message : `${message}. Did you mean ${meant}?`;
      warnings.push(faultAt(['capabilities', name, 'params', ...path], words, locate));
    }
  }
  for (const { path, group, near } of groupsThatNearlyAgree(manifest))
    warnings.push(
      faultAt(path, `${group} is nearly ${near}, which stands in this manifest too. Is it another group?`, locate),
    );
  return inReadingOrder(warnings);
}

/**
 * Which groups there are only the identity provider knows, so a misspelt one approves nothing in silence: one
 * that is a letter or two from another of the same text is told.
 */
function groupsThatNearlyAgree(manifest: Manifest): { path: (string | number)[]; group: string; near: string }[] {
  const places = groupsIn(manifest, []);
  const seen = new Set<string>();
  return places.flatMap(({ path, group }) => {
    if (seen.has(group)) return [];
    const near = nearName(
      group.slice('team:'.length),
      [...seen].map((other) => other.slice('team:'.length)),
    );
    seen.add(group);
    return near === null || !isSlip(group.slice('team:'.length), near) ? [] : [{ path, group, near: `team:${near}` }];
  });
}

/** A letter too many or too few, or two swapped. Another letter in its place is how names differ. */
const isSlip = (written: string, near: string): boolean =>
  Math.abs(written.length - near.length) === 1 || [...written].sort().join('') === [...near].sort().join('');

/** Owners and approvers, wherever they stand. */
function groupsIn(value: unknown, path: (string | number)[]): { path: (string | number)[]; group: string }[] {
  if (typeof value === 'string')
    return value.startsWith('team:') && path.some((part) => part === 'owner' || part === 'from')
      ? [{ path, group: value }]
      : [];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) =>
    groupsIn(item, [...path, Array.isArray(value) ? Number(key) : key]),
  );
}
