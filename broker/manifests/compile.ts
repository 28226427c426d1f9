/**
 * Manifest → Cedar policies and schema. Each capability gets a policy set of its own (cost is linear in
 * policies), made of one permit and the forbids that cut it down; each policy explains itself by its
 * annotations.
 *
 * Every policy: @id, @reason (stable code), @path (into the request), @advice (what would
 * pass). @effect("approve") marks the forbid that a person's approval lifts.
 */

import { hash } from 'node:crypto';
import {
  type Policy,
  type PolicyJson,
  policyToText,
  type SchemaJson,
  schemaToText,
  validate,
} from '@cedar-policy/cedar-wasm/nodejs';
import type { FieldFault } from '../core/errors.ts';
import { callPart } from './call-policies.ts';
import { type PolicyAnnotations, policyOf, rulesOf } from './cedar-rules.ts';
import { entity, type ParamKind, paramKinds, schemaOf } from './cedar-schema.ts';
import type { Capability, Manifest } from './manifest.ts';
import type { Locate } from './parse.ts';
import { joinSchemas, teamPolicies, teamPoliciesFor } from './team-policies.ts';

export interface CompiledCapability {
  policies: { [policyId: string]: PolicyJson };
  schema: SchemaJson<string>;
  /** How each parameter is passed to Cedar. */
  kinds: { [param: string]: ParamKind };
}

/** A manifest as it is put in force: plain JSON, so it can be stored and read back. */
export interface CompiledManifest {
  format: 1;
  agent: string;
  /** Hex SHA-256 of the YAML exactly as published. */
  sha256: string;
  manifest: Manifest;
  capabilities: { [capability: string]: CompiledCapability };
  annotations: { [policyId: string]: PolicyAnnotations };
  /** All policies as Cedar text, for people and for diffs; never read back. */
  policiesText: string;
}

/** One published version, ready to decide with. */
export interface PublishedManifest {
  agent: string;
  version: number;
  sha256: string;
  compiled: CompiledManifest;
}

/**
 * Compiles a checked manifest (`checkManifest` found nothing) and has Cedar validate it; any complaint of
 * Cedar's refuses it, at the place of the capability.
 */
export function compileManifest(
  manifest: Manifest,
  source: string,
  locate: Locate,
): { ok: true; compiled: CompiledManifest } | { ok: false; faults: FieldFault[] } {
  const compiled: CompiledManifest = {
    format: 1,
    agent: manifest.agent,
    sha256: hash('sha256', source, 'hex'),
    manifest,
    capabilities: {},
    annotations: {},
    policiesText: '',
  };
  const faults: FieldFault[] = [];
  const texts: string[] = [];
  for (const [name, capability] of Object.entries(manifest.capabilities)) {
    const part = compileCapability(manifest, name, capability);
    compiled.capabilities[name] = part;
    for (const [id, policy] of Object.entries(part.policies)) {
      compiled.annotations[id] = policy.annotations as unknown as PolicyAnnotations;
      texts.push(textOf(policy));
    }
    for (const message of complaintsOf(part)) {
      faults.push({ path: `capabilities.${name}`, message, ...locate(['capabilities', name]) });
    }
  }
  for (const tool of Object.keys(manifest.tools ?? {})) {
    const part = callPart(manifest, tool);
    texts.push(...Object.values(part.policies).map(textOf));
    for (const message of complaintsOf(part)) {
      faults.push({ path: `tools.${tool}`, message, ...locate(['tools', tool]) });
    }
  }
  compiled.policiesText = texts.join('\n\n');
  const all = atTheirLines(manifest, source, locate, faults);
  return all.length > 0 ? { ok: false, faults: all } : { ok: true, compiled };
}

/**
 * What Cedar finds wrong with a set of policies under its schema. Its warnings (texts of mixed scripts, say)
 * are not faults.
 */
export function complaintsOf(part: Pick<CompiledCapability, 'policies' | 'schema'>): string[] {
  const answer = validate({
    schema: part.schema,
    policies: { staticPolicies: part.policies },
    validationSettings: { mode: 'strict' },
  });
  if (answer.type === 'failure') return answer.errors.map(({ message }) => `Cedar: ${message}`);
  return answer.validationErrors.map(({ policyId, error }) => `Cedar on ${policyId}: ${error.message}`);
}

function compileCapability(manifest: Manifest, name: string, capability: Capability): CompiledCapability {
  const kinds = paramKinds(manifest, capability);
  const policies: CompiledCapability['policies'] = {};
  for (const rule of rulesOf(manifest, name, capability)) {
    const id = `${name}.${rule.id}`;
    policies[id] = policyOf(manifest, name, capability, { ...rule, id });
  }
  for (const { id, policy } of teamPoliciesFor(manifest, entity.action(name))) policies[`${name}.${id}`] = policy;
  return { policies, schema: schemaOf(manifest, name, capability, kinds), kinds };
}

/**
 * All faults, those of the `cedar` section by their line in the file. What Cedar's validation found in one of
 * its policies was noted at every tool and capability; here it stands once, at the policy.
 */
function atTheirLines(manifest: Manifest, source: string, locate: Locate, found: readonly FieldFault[]): FieldFault[] {
  const { policies, faults } = teamPolicies(manifest);
  const { line, column } = locate(['cedar']);
  // The text of a block begins on the line after its mark.
  const isBlock = /^cedar\s*:\s*[|>]/.test(source.split('\n')[line - 1] ?? '');
  const at = (below: number) => ({ path: 'cedar', line: line + below - (isBlock ? 0 : 1), column });
  const about = (id: string) => found.filter(({ message }) => message.includes(`.cedar.${id}:`));
  return [
    ...found.filter((fault) => !policies.some(({ id }) => about(id).includes(fault))),
    ...faults.map((fault) => ({ ...at(fault.line), message: fault.message })),
    ...policies.flatMap((policy) =>
      about(policy.id)
        .slice(0, 1)
        .map(({ message }) => ({ ...at(policy.line), message })),
    ),
  ];
}

/** The schema of all facts that policies of the `cedar` section may look at, in Cedar's own notation. */
export function cedarSchemaText(manifest: Manifest): string {
  const parts = [
    ...Object.entries(manifest.capabilities).map(([name, capability]) =>
      schemaOf(manifest, name, capability, paramKinds(manifest, capability)),
    ),
    ...Object.keys(manifest.tools ?? {}).map((name) => callPart(manifest, name).schema),
  ];
  const written = schemaToText(joinSchemas(parts));
  if (written.type === 'failure') throw new Error('Cedar cannot write out the schema that it was given');
  return written.text;
}

function textOf(policy: Policy): string {
  const answer = policyToText(policy);
  if (answer.type === 'failure') throw new Error('Cedar cannot write out a policy that it was given');
  return answer.text;
}
