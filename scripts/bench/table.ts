/** The results for people: one line a row, columns aligned. */
import type { Result } from './measure.ts';

const columns: [heading: string, width: number, text: (row: Result) => string][] = [
  ['clients', 8, ({ clients }) => String(clients)],
  ['requests/s', 11, ({ rps }) => rps.toFixed(rps < 100 ? 1 : 0)],
  ['p50 ms', 9, ({ p50_ms }) => p50_ms.toFixed(2)],
  ['p99 ms', 9, ({ p99_ms }) => p99_ms.toFixed(2)],
  ['CPU ms', 9, ({ cpu_ms }) => cpu_ms.toFixed(3)],
  ['SQL trips', 10, ({ round_trips }) => round_trips.toFixed(2)],
  ['of reference', 13, ({ reference_ratio }) => `${(reference_ratio * 100).toFixed(0)} %`],
];
const nameWidth = 16;

export const headings = 'step'.padEnd(nameWidth) + columns.map(([heading, width]) => heading.padStart(width)).join('');

export function line(row: Result): string {
  return row.name.padEnd(nameWidth) + columns.map(([, width, text]) => text(row).padStart(width)).join('');
}
