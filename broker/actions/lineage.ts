/**
 * Labels follow the data: what a session writes into an entity has the session's labels, and whoever touches
 * the entity later, in any session of the owner's agents, takes them. Two agents that hand something on to
 * each other so get rid of nothing. Pure.
 *
 * Cells of entities are not held still while somebody looks at them: of two sessions that touch one entity at
 * the same moment, the one that did not see the other's labels was the first. What is written between a call
 * and its outcome, the outcome takes.
 */
import { type CallFacts, toolOf } from '../manifests/compile-calls.ts';
import type { Manifest } from '../manifests/manifest.ts';
import {
  anyEntityCell,
  type CellRef,
  type Cells,
  type CellWrite,
  type Digest,
  entityCell,
  labelsIn,
  labelWrite,
} from './cells.ts';

/** Where the labels of what a call touches are; null = its tool touches no entity. */
export function touchedCell(manifest: Manifest, call: CallFacts, digest: Digest): CellRef | null {
  const tool = call.tool === null ? undefined : toolOf(manifest, call.tool);
  if (tool?.entity === undefined) return null;
  return call.entity === null ? anyEntityCell : entityCell(call.entity, digest);
}

/** Cells that a call looks at, or puts labels on. */
export function lineageCells(manifest: Manifest, call: CallFacts, digest: Digest): CellRef[] {
  const touched = touchedCell(manifest, call, digest);
  return touched === null ? [] : [touched, ...(writesTo(manifest, call) ? [anyEntityCell] : [])];
}

export const writesTo = (manifest: Manifest, call: CallFacts): boolean =>
  call.tool !== null && toolOf(manifest, call.tool)?.writes === true;

/** Labels of what a call touches. */
export function touchedLabels(manifest: Manifest, call: CallFacts, cells: Cells, digest: Digest): string[] {
  const touched = touchedCell(manifest, call, digest);
  return touched === null ? [] : labelsIn(cells, touched);
}

/** What an allowed call puts on the entity that it writes into. @param labels of the session by then */
export function lineageWrites(
  manifest: Manifest,
  call: CallFacts,
  labels: readonly string[],
  cells: Cells,
  moment: { now: number },
  digest: Digest,
): CellWrite[] {
  if (!writesTo(manifest, call) || call.entity === null) return [];
  return [entityCell(call.entity, digest), anyEntityCell].flatMap((ref) => labelWrite(cells, labels, moment, ref));
}
