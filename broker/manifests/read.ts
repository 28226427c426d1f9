/**
 * The whole way from YAML to a manifest that can be put in force: parse → check → compile. Publishing
 * (`publish.ts`) begins with this.
 */
import { z } from 'zod';
import type { FieldFault } from '../core/errors.ts';
import { warningsOf } from './advise.ts';
import { checkManifest, type ProviderShapes } from './check.ts';
import { type CompiledManifest, cedarSchemaText, compileManifest } from './compile.ts';
import { withPacks } from './include-packs.ts';
import { parseManifest, parseStrictly } from './parse.ts';

/**
 * What policies of a manifest's `cedar` section may look at, in Cedar's notation. The section itself need not
 * be right yet: that is what the schema is wanted for.
 */
export function cedarSchemaOf(
  source: string,
  providers: ProviderShapes,
): { ok: true; schema: string } | { ok: false; faults: FieldFault[] } {
  const parsed = parseManifest(source);
  if (!parsed.ok) return parsed;
  const faults = checkManifest(parsed.manifest, providers, parsed.locate);
  return faults.length > 0 ? { ok: false, faults } : { ok: true, schema: cedarSchemaText(parsed.manifest) };
}

/** The agent that a text names as its own, whatever faults it has; null where none can be made out. */
export function agentOf(source: string): string | null {
  const parsed = parseStrictly(source, z.looseObject({ agent: z.string() }));
  return parsed.ok ? parsed.value.agent : null;
}

/**
 * Reads, checks and compiles. Pure, never throws for what the source holds; every fault has a path, a line
 * and a column.
 */
export function readManifest(
  source: string,
  providers: ProviderShapes,
): { ok: true; compiled: CompiledManifest; warnings: FieldFault[] } | { ok: false; faults: FieldFault[] } {
  const parsed = parseManifest(source);
  if (!parsed.ok) return parsed;
  const faults = checkManifest(parsed.manifest, providers, parsed.locate);
  if (faults.length > 0) return { ok: false, faults };
  const compiled = compileManifest(withPacks(parsed.manifest), source, parsed.locate);
  return compiled.ok ? { ...compiled, warnings: warningsOf(parsed.manifest, providers, parsed.locate) } : compiled;
}

/** Whether a file of the folder is a manifest: cases of one stand beside it. */
export const isManifest = (name: string): boolean => /(?<!\.cases)\.yaml$/.test(name);

/**
 * What is wrong with the name of a file that only looks like a manifest, or like its cases, and would be
 * passed over in silence; null = nothing.
 */
export function nameFault(name: string): string | null {
  const [, stem, ending] = /^(.*)\.(ya?ml|json[5cl]?)$/is.exec(name) ?? [];
  if (ending === undefined || ending === 'yaml') return null;
  const what = /json/i.test(ending) ? 'write it as YAML, or take it out of the folder' : 'rename it';
  return stem?.toLowerCase().endsWith('.cases')
    ? `the name of a manifest’s cases ends in .cases.yaml; ${what}`
    : `a manifest’s name ends in .yaml; ${what}`;
}
