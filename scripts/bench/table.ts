/** The results for people: one line a row, columns aligned. */
import type { Result } from './measure.ts';

/** One line of what a target costs; the names are those of the JSON file. */
export interface TargetResult {
  name: string;
  /** Of the server. */
  version: string;
  live_leases: number;
  samples: number;
  p50_ms: number;
  p99_ms: number;
  /** Of a query: its median, as a share of the same without a lease. */
  of_plain: number | null;
}

type Column<Row> = [heading: string, width: number, text: (row: Row) => string];

const columns: Column<Result>[] = [
  ['clients', 8, ({ clients }) => String(clients)],
  ['requests/s', 11, ({ rps }) => rps.toFixed(rps < 100 ? 1 : 0)],
  ['p50 ms', 9, ({ p50_ms }) => p50_ms.toFixed(2)],
  ['p99 ms', 9, ({ p99_ms }) => p99_ms.toFixed(2)],
  ['CPU ms', 9, ({ cpu_ms }) => cpu_ms.toFixed(3)],
  ['SQL trips', 10, ({ round_trips }) => round_trips.toFixed(2)],
  ['of reference', 13, ({ reference_ratio }) => `${(reference_ratio * 100).toFixed(0)} %`],
];

const targetColumns: Column<TargetResult>[] = [
  ['live leases', 12, ({ live_leases }) => String(live_leases)],
  ['samples', 9, ({ samples }) => String(samples)],
  ['p50 ms', 9, ({ p50_ms }) => p50_ms.toFixed(2)],
  ['p99 ms', 9, ({ p99_ms }) => p99_ms.toFixed(2)],
  ['of plain', 10, ({ of_plain }) => (of_plain === null ? '' : `${(of_plain * 100).toFixed(0)} %`)],
];

const headingsOf = <Row>(nameWidth: number, of: Column<Row>[]) =>
  'step'.padEnd(nameWidth) + of.map(([heading, width]) => heading.padStart(width)).join('');
const lineOf = <Row extends { name: string }>(nameWidth: number, of: Column<Row>[], row: Row) =>
  (row.name.padEnd(nameWidth) + of.map(([, width, text]) => text(row).padStart(width)).join('')).trimEnd();

export const headings = headingsOf(16, columns);
export const line = (row: Result): string => lineOf(16, columns, row);
export const targetHeadings = headingsOf(22, targetColumns);
export const targetLine = (row: TargetResult): string => lineOf(22, targetColumns, row);
