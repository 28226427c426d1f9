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
  return inReadingOrder(warnings);
}
