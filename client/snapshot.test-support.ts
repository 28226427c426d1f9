/** Snapshots that nobody signed, for what looks at their content alone. */
import type { SnapshotTool } from '../broker/actions/snapshot.ts';
import { type Snapshot, toolsOf } from './snapshot.ts';

export const snapshotOf = (tools: readonly SnapshotTool[]): Snapshot => ({
  jws: '',
  from: 0,
  until: 60_000,
  issuedAt: 0,
  tools: toolsOf(JSON.parse(JSON.stringify(tools))),
});
