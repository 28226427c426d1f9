/**
 * Decoys: what no honest run ever touches. A tool or a capability may be one, and so may a value, a path, a
 * host or an entity that a call names. Pure.
 */

import { hash } from 'node:crypto';
import { posix } from 'node:path';
import type { Json } from '../core/vocabulary.ts';
import { textsOf } from './argument-texts.ts';
import { alike, hostOf, isNamed } from './call-arguments.ts';
import type { Manifest } from './manifest.ts';
import type { Canary } from './tool-schema.ts';

export interface CanaryRule {
  /** Says nothing: the agent is told it, and must not learn what it touched. */
  ruleId: string;
  /** As people are told: `tool:read_payroll`, `capability:root`, or the id that the manifest gives. */
  name: string;
  on: { tools: readonly string[]; capabilities: readonly string[] } | null;
  decoy: Canary | null;
}

/** Every canary of a manifest. */
export function canariesOf(manifest: Manifest): CanaryRule[] {
  const marked = (things: { [name: string]: { canary: boolean } }) =>
    Object.entries(things).flatMap(([name, { canary }]) => (canary ? [name] : []));
  const rule = (name: string, parts: Pick<CanaryRule, 'on' | 'decoy'>): CanaryRule => ({
    ruleId: `guard.${hash('sha256', `${manifest.agent} ${name}`, 'hex').slice(0, 10)}`,
    name,
    ...parts,
  });
  return [
    ...marked(manifest.tools ?? {}).map((tool) =>
      rule(`tool:${tool}`, { on: { tools: [tool], capabilities: [] }, decoy: null }),
    ),
    ...marked(manifest.capabilities).map((capability) =>
      rule(`capability:${capability}`, { on: { tools: [], capabilities: [capability] }, decoy: null }),
    ),
    ...(manifest.canaries ?? []).map((decoy) => rule(decoy.id, { on: null, decoy })),
  ];
}

/** Whether a call or a grant names the decoy, anywhere in its arguments and however encoded. */
export function touchesDecoy(
  decoy: Canary,
  { args, entity }: { args: { readonly [name: string]: Json }; entity: string | null },
): boolean {
  if (decoy.entity !== undefined && entity !== null && alike(entity) === alike(decoy.entity)) return true;
  if (decoy.value === undefined && decoy.path === undefined && decoy.host === undefined) return false;
  const { texts, joined } = textsOf(args);
  if (decoy.value !== undefined) {
    const value = alike(decoy.value);
    // Also where it is cut into arguments that follow each other.
    if (texts.some((text) => alike(text).includes(value)) || alike(joined).includes(value)) return true;
  }
  const words = texts.flatMap((text) => text.split(/[\s"'`()<>[\]{},;|&=]+/u));
  if (decoy.path !== undefined && words.some((word) => isBelow(word, decoy.path!))) return true;
  return decoy.host !== undefined && words.some((word) => leadsTo(word, decoy.host!));
}

/** The path itself, or what is below it, however many `.`, `..` and slashes are on the way. */
function isBelow(word: string, path: string): boolean {
  const asPath = (text: string) =>
    posix
      .normalize(text.replaceAll('\\', '/').replace(/^[a-z][a-z0-9+.-]*:\/\/(?:[^/]*)/i, ''))
      .replace(/\/+$/, '')
      .replace(/^\/+/, '/')
      .toLowerCase();
  const at = asPath(word);
  const decoy = asPath(path);
  return at === decoy || at.startsWith(`${decoy}/`);
}

function leadsTo(word: string, host: string): boolean {
  const text = word.toLowerCase();
  return isNamed(text, [host.toLowerCase()]) || hostOf(text) === host.toLowerCase();
}
