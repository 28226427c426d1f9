/** The closed lists, each a page: errors, audit events. */
import type { errorTable } from '../../broker/core/errors.ts';
import { code, generatedFrom, page, table } from './markdown.ts';

type Errors = { [code in keyof typeof errorTable]: { status: number; title: string; help: string } };

export function errorsPage(errors: Errors): string {
  return page(
    generatedFrom('broker/core/errors.ts'),
    '# Errors',
    'Every error has one of these codes. A problem document (RFC 9457) carries it in `code`, the page below in `type`, the faulty fields in `errors` (`path`, `message`), and a `request_id` that the log has too. A broker serves the same texts at `/errors/CODE`.',
    table(
      ['Code', 'Status', 'Title'],
      Object.entries(errors).map(([name, { status, title }]) => [`[${code(name)}](#${name})`, String(status), title]),
    ),
    ...Object.entries(errors).flatMap(([name, { status, title, help }]) => [
      `## ${name}`,
      `**${status}** · ${title}.`,
      help,
    ]),
  );
}

export function auditEventsPage(types: { readonly [type: string]: string }): string {
  return page(
    generatedFrom('broker/audit/event-types.ts'),
    '# Audit events',
    'All that the record can say. Each row is written in the statement that makes the change; rows are numbered and hash-chained per session, or per `agent:NAME`, or in `system` for what belongs to neither (`house` in rows written before 2026-11-25). Nothing can change or delete a row. How to check the chains: [operate.md](../operate.md#the-record).',
    table(
      ['Type', 'Meaning'],
      Object.entries(types).map(([type, meaning]) => [code(type), meaning]),
    ),
  );
}
