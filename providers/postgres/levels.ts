/** What a reviewer may lower in PostgreSQL's parameters: a table without one of its verbs. Pure. */
import type { Level } from '../contract.ts';
import type { PostgresParams } from './params.ts';

const verbs = ['read', 'insert', 'update', 'delete'] as const;

export function levels({ tables }: PostgresParams): Level[] {
  return tables.flatMap((table, index) => {
    const given = verbs.filter((verb) => (verb === 'delete' ? table.delete : table[verb] !== undefined));
    // Of a table with one verb nothing would be left.
    if (given.length < 2) return [];
    return given.map((verb) => {
      const columns = verb === 'delete' ? ['whole rows'] : (table[verb] as string[]);
      return {
        pointer: `/tables/${index}/${verb}`,
        name: `${verb} in ${table.schema}.${table.table}`,
        now: columns.join(', '),
        steps: [{ key: 'none', text: 'not at all' }],
      };
    });
  });
}
