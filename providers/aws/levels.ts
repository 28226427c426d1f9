/** What a reviewer may lower in AWS's parameters: the kind of access, and prefixes by longer ones. Pure. */
import type { Level } from '../contract.ts';
import type { AwsParams } from './params.ts';

/** Access → what is surely less of it. */
const lesser: { [service: string]: { [access: string]: readonly string[] } } = {
  s3: { read: ['get', 'list'], read_write: ['read', 'get', 'list', 'write'] },
  dynamodb: { read_write: ['read', 'write'] },
  sqs: { send_receive: ['send', 'receive'] },
};

export function levels(params: AwsParams): Level[] {
  switch (params.service) {
    case 'secretsmanager':
    case 'managed':
      return [];
    case 'custom':
      return params.statements.flatMap((statement, index) =>
        (['resource_prefixes', 'resource_beginnings'] as const).flatMap((list) =>
          (statement[list] ?? []).map((now, at) => ({
            pointer: `/statements/${index}/${list}/${at}`,
            name: `resources of statement ${index + 1} that begin so`,
            now,
            begins: now,
          })),
        ),
      );
    case 's3':
      return [
        ...accessOf(params.service, params.access),
        ...(params.key === undefined
          ? [
              {
                pointer: '/prefix',
                name: `prefix in the bucket ${params.bucket}`,
                now: params.prefix ?? 'the whole bucket',
                begins: params.prefix ?? '',
              },
            ]
          : []),
      ];
    default:
      return accessOf(params.service, params.access);
  }
}

function accessOf(service: string, now: string): Level[] {
  const steps = (lesser[service]?.[now] ?? []).map((access) => ({
    key: access,
    text: access.replace('_', ' and '),
    value: access,
  }));
  return steps.length === 0 ? [] : [{ pointer: '/access', name: 'access', now: now.replace('_', ' and '), steps }];
}
