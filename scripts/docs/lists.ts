/** The closed lists, each a page: errors, audit events. */
import { z } from 'zod';
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

/** The members of one shape of a payload, in the order in which they are declared. */
function members({ shape }: Events[string]['payload'][number]): string {
  const names = Object.entries(shape).map(([name, schema]) =>
    code(schema instanceof z.ZodOptional ? `${name}?` : name),
  );
  return names.length === 0 ? 'empty' : names.join(', ');
}

type Events = {
  readonly [type: string]: { meaning: string; payload: readonly { shape: { readonly [member: string]: unknown } }[] };
};

export function auditEventsPage(events: Events): string {
  return page(
    generatedFrom('broker/audit/events.ts'),
    '# Audit events',
    'All that the record can say. Each row is written in the statement that makes the change; rows are numbered and hash-chained per session, or per `agent:NAME`, or in `system` for what belongs to neither (`house` in rows written before 2026-11-25). Nothing can change or delete a row. How to check the chains: [operate.md](../operate.md#the-record).',
    table(
      ['Type', 'Meaning', 'Payload'],
      Object.entries(events).map(([type, { meaning, payload }]) => [
        code(type),
        meaning,
        payload.map(members).join('; or '),
      ]),
    ),
    'Payload: the members of the JSON object; `?` marks one that is not always there. An event that comes about in more than one way has a shape for each. `reason`, `reasons` and `refused_because` hold [reason codes](reason-codes.md), `code` an [error code](errors.md).',
  );
}
