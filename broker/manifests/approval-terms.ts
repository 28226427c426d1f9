/** Whose approvals a request needs by its manifest: by the capability, and by each rule that asks people. */
import type { ApprovalTerm } from '../core/vocabulary.ts';
import type { Approval } from './approval-schema.ts';
import { compiledCalls } from './compile-calls.ts';
import { capabilityOwner, type Manifest, member } from './manifest.ts';

/** What people are asked because of. */
export interface AskedBy {
  /** Of a grant; null of a tool call, or of a session that a rule stopped. */
  capability: string | null;
  /** Whether the tier of the capability has people asked. */
  tier: boolean;
  /** Rules that have people asked. */
  rules: readonly string[];
}

/**
 * Each must be met. What a rule leaves out the capability says, then the agent, then: one of the owners.
 * @returns null where the manifest says nothing of it: then one of the owners approves
 */
export function approvalTerms(manifest: Manifest, asked: AskedBy): ApprovalTerm[] | null {
  const capability = asked.capability === null ? undefined : member(manifest.capabilities, asked.capability);
  const said = saidOf(manifest, asked);
  if (said.every(({ quorum, from }) => quorum === undefined && from === undefined)) return null;
  const owners = [manifest.owner, ...(capability === undefined ? [] : [capabilityOwner(manifest, capability)])];
  const terms = new Map<string, ApprovalTerm>();
  for (const { quorum = 1, from = owners } of said) {
    const names = [...new Set(from)].sort();
    const known = terms.get(names.join('\n'));
    terms.set(names.join('\n'), { quorum: Math.max(quorum, known?.quorum ?? 1), from: names });
  }
  return [...terms.values()];
}

/** @returns for how many seconds such a request waits; null where the manifest says nothing of it */
export function approvalExpires(manifest: Manifest, asked: AskedBy): number | null {
  const said = saidOf(manifest, asked).flatMap(({ expires }) => expires ?? []);
  return said.length === 0 ? null : Math.min(...said);
}

function saidOf(manifest: Manifest, asked: AskedBy): Approval[] {
  const capability = asked.capability === null ? undefined : member(manifest.capabilities, asked.capability);
  const base = { ...manifest.approval, ...capability?.approval };
  const rules = compiledCalls(manifest).rules.filter(
    ({ id, effect }) => effect === 'approve' && asked.rules.includes(id),
  );
  return [
    ...(asked.tier || rules.length === 0 ? [base] : []),
    ...rules.map(({ approval }) => ({ ...base, ...approval })),
  ];
}

/** All that a manifest says of approvals of a capability, as one text to compare. */
export function approvalConfig(manifest: Manifest, name: string): string {
  const capability = member(manifest.capabilities, name);
  const owners = [manifest.owner, capability === undefined ? manifest.owner : capabilityOwner(manifest, capability)];
  return JSON.stringify([owners, manifest.approval ?? null, capability?.approval ?? null]);
}

/**
 * Who decides on a capability, how, and where, as one text: what it is equal for may be decided on at once.
 */
export function reviewTerms(manifest: Manifest, name: string): string {
  const capability = member(manifest.capabilities, name);
  const { quorum, from, challenge } = { ...manifest.approval, ...capability?.approval };
  const owners = [manifest.owner, capability === undefined ? manifest.owner : capabilityOwner(manifest, capability)];
  return JSON.stringify([owners, quorum ?? null, from ?? null, challenge ?? null, capability?.slack ?? null]);
}
