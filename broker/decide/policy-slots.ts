/**
 * Preparsed policy sets. Cedar keeps what is preparsed under an id for as long as the thread lives and has no
 * way to drop it, so ids come from a fixed supply: each capability holds one slot, a new version of its
 * manifest is parsed into the same slot, and when all are taken the least recently used one is replaced.
 */
import { type PolicyJson, preparsePolicySet } from '@cedar-policy/cedar-wasm/nodejs';
import { entity } from '../manifests/cedar-schema.ts';
import type { CompiledManifest } from '../manifests/compile.ts';
import { member } from '../manifests/manifest.ts';

/** About 60 KB a slot: 60 MB at most. */
export const maxSlots = 1024;

interface Slot {
  id: string;
  /**
   * What is parsed into it. Compared by identity: a decision on another version, or on a copy, never uses
   * this one's policies.
   */
  compiled: CompiledManifest | undefined;
}

/** By agent, action and purpose; least recently used first. */
const slots = new Map<string, Slot>();

/**
 * Preparses every capability of an agent's manifest (some milliseconds each), so that no request has to wait
 * for it. Keep the same `compiled` object for as long as its version is in force: another object is parsed
 * anew. Throws when Cedar does not take it.
 */
export function loadPolicies(agent: string, compiled: CompiledManifest): void {
  if (compiled.agent !== agent) throw new TypeError("the manifest is another agent's");
  for (const capability of Object.keys(compiled.capabilities)) slotFor(compiled, capability);
}

/**
 * The id of the slot that holds exactly this manifest's policies for this capability, parsed first where
 * necessary.
 */
export function slotFor(compiled: CompiledManifest, capability: string): string {
  return slot(compiled, entity.action(capability).id, member(compiled.capabilities, capability)?.policies);
}

/** The same for calls of a tool. @param policies of `callPart` for this very manifest */
export function slotForCalls(compiled: CompiledManifest, tool: string, policies: Policies): string {
  return slot(compiled, entity.call(tool).id, policies);
}

type Policies = { [id: string]: PolicyJson };

/** Manifests that are not in force: they have slots of their own, and take none from the one that is. */
const beside = new WeakMap<CompiledManifest, string>();

/**
 * Says that a manifest is decided with beside the one in force. There are as many slots for each purpose as
 * for what is in force, and no more: another manifest of the same agent and purpose is parsed into the same.
 */
export function decideBeside(compiled: CompiledManifest, purpose: 'candidate' | 'replay'): void {
  beside.set(compiled, purpose);
}

function slot(compiled: CompiledManifest, action: string, policies: Policies | undefined): string {
  const key = JSON.stringify([compiled.agent, action, beside.get(compiled) ?? 'active']);
  const taken = slots.get(key) ?? freeSlot();
  slots.delete(key);
  if (taken.compiled !== compiled) {
    if (policies === undefined) throw new TypeError('unknown capability');
    taken.compiled = undefined;
    slots.set(key, taken);
    const parsed = preparsePolicySet(taken.id, { staticPolicies: policies });
    if (parsed.type === 'failure') throw new Error('Cedar does not take the compiled policies');
    taken.compiled = compiled;
  }
  slots.set(key, taken);
  return taken.id;
}

function freeSlot(): Slot {
  if (slots.size < maxSlots) return { id: `writ-${slots.size}`, compiled: undefined };
  const [oldest, taken] = slots.entries().next().value as [string, Slot];
  slots.delete(oldest);
  return { ...taken, compiled: undefined };
}
